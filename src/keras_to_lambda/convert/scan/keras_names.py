"""Names of Keras: the classes and functions that only compute. Everything else is code.

A configuration names classes by module and name (`.keras`), or by name alone (`.h5`), and Keras
imports what it finds. A test compares the lists with the installed Keras 3 and tf_keras.
"""

from __future__ import annotations

# Layers that carry a program, or run one that is stored elsewhere (Keras refuses them in its safe
# mode: keras/src/layers/core/lambda_layer.py, export/tfsm_layer.py, utils/torch_utils.py).
CODE = (
    *("Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "__lambda__"),
    # They call any method of any class of TensorFlow, or read the files of feature columns.
    *("ClassMethod", "InstanceMethod", "InstanceProperty", "DenseFeatures", "SequenceFeatures"),
    # They carry a function that joins or drops states, as bytecode (tf_keras's
    # rnn/cell_wrappers.py).
    *("DropoutWrapper", "ResidualWrapper", "DeviceWrapper", "_RNNCellWrapper"),
)
# Layers of Keras 2 that call TensorFlow's operators by name.
OPERATOR_LAYERS = ("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer")

# Where classes are, below `keras` without its `src`, or `tf_keras` as `keras`; and TensorFlow's own
# initializers (tf.random_normal_initializer and others).
_PLACES = """
    __internal__ _legacy applications constraints dtype_policies engine initializers layers
    mixed_precision models ops regularizers"""
PLACES = frozenset(("", *_PLACES.split()))
INITIALIZER_MODULES = ("tensorflow.python.ops.init_ops", "tensorflow.python.ops.init_ops_v2")
# Layers, networks, initializers, regularizers, constraints and policies, of Keras 1 to 3.
_NAMES = """
    AWQDTypePolicy AbstractRNNCell Activation ActivityRegularization AdaptiveAveragePooling1D
    AdaptiveAveragePooling2D AdaptiveAveragePooling3D AdaptiveMaxPooling1D AdaptiveMaxPooling2D
    AdaptiveMaxPooling3D Add AddLoss AddMetric AdditiveAttention AlphaDropout AtrousConvolution1D
    AtrousConvolution2D Attention AugMix AutoContrast Average AveragePooling1D AveragePooling2D
    AveragePooling3D AvgPool1D AvgPool2D AvgPool3D BaseAdaptiveAveragePooling
    BaseAdaptiveMaxPooling BaseAdaptivePooling BaseConv BaseConvTranspose BaseDepthwiseConv
    BaseGlobalPooling BaseImagePreprocessingLayer BasePooling BaseRandomLayer BaseSeparableConv
    BaseSpatialDropout BatchNormalization BatchNormalizationBase BatchNormalizationV1
    BatchNormalizationV2 Bidirectional CategoryEncoding CenterCrop Concatenate Constant ConstantV2
    Constraint Container ContrastLimitedAdaptiveHistogramEqualization Conv1D Conv1DTranspose Conv2D
    Conv2DTranspose Conv3D Conv3DTranspose ConvLSTM ConvLSTM1D ConvLSTM2D ConvLSTM3D ConvLSTMCell
    Convolution1D Convolution1DTranspose Convolution2D Convolution2DTranspose Convolution3D
    Convolution3DTranspose Cropping1D Cropping2D Cropping3D CuDNNGRU CuDNNLSTM
    Custom>CustomScaleLayer CustomScaleLayer CutMix DTypePolicy DTypePolicyMap DataLayer
    Deconvolution2D Deconvolution3D Dense DepthwiseConv1D DepthwiseConv2D Discretization Dot
    Dropout ELU EinsumDense Embedding Equalization  Flatten FloatDTypePolicy Functional
    GPTQDTypePolicy GRU GRUCell GRUCellV1 GRUCellV2 GRUV1 GRUV2 GaussianDropout GaussianNoise
    GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D GlobalAvgPool1D
    GlobalAvgPool2D GlobalAvgPool3D GlobalMaxPool1D GlobalMaxPool2D GlobalMaxPool3D
    GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D GlorotNormal GlorotNormalV2
    GlorotUniform GlorotUniformV2 GroupNormalization GroupQueryAttention HashedCrossing Hashing
    HeNormal HeNormalV2 HeUniform HeUniformV2 Highway Identity IdentityV2 IndexLookup Initializer
    InputLayer Int4DTypePolicy IntegerLookup L1 L1L2 L2 LSTM LSTMCell LSTMCellV1 LSTMCellV2 LSTMV1
    LSTMV2 Layer LayerNormalization LayerScale LeakyReLU LecunNormal LecunNormalV2 LecunUniform
    LecunUniformV2 LocallyConnected1D LocallyConnected2D Masking MaxNorm MaxNumBoundingBoxes
    MaxPool1D MaxPool2D MaxPool3D MaxPooling1D MaxPooling2D MaxPooling3D Maximum MaxoutDense
    MelSpectrogram Merge MinMaxNorm Minimum MixUp Model MultiHeadAttention Multiply NonNeg
    Normalization Ones OnesV2 Orthogonal OrthogonalRegularizer OrthogonalV2 PReLU Permute Pipeline
    Policy PolicyV1 QuantizedDTypePolicy QuantizedFloat8DTypePolicy RMSNormalization RNN
    RadialConstraint RandAugment RandomBrightness RandomColorDegeneration RandomColorJitter
    RandomContrast RandomCrop RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur
    RandomGrayscale RandomHeight RandomHue RandomInitializer RandomInvert RandomNormal
    RandomNormalV2 RandomPerspective RandomPosterization RandomRotation RandomSaturation
    RandomSharpness RandomShear RandomTranslation RandomUniform RandomUniformV2 RandomWidth
    RandomZoom ReLU Regularizer RepeatVector Rescaling Reshape Resizing ReversibleEmbedding STFT
    STFTSpectrogram SeparableConv1D SeparableConv2D SeparableConvolution1D SeparableConvolution2D
    Sequential SimpleRNN SimpleRNNCell Softmax Solarization SpatialDropout1D SpatialDropout2D
    SpatialDropout3D SpectralNormalization StackedRNNCells StochasticDepth StringLookup Subtract
    SyncBatchNormalization TextVectorization ThresholdedReLU TimeDistributed TimeDistributedDense
    TruncatedNormal TruncatedNormalV2 UnitNorm UnitNormalization UpSampling1D UpSampling2D
    UpSampling3D VarianceScaling VarianceScalingV2 Wrapper ZeroPadding1D ZeroPadding2D
    ZeroPadding3D Zeros ZerosV2 constant glorot_normal glorot_uniform he_normal he_uniform identity
    l1 l2 lecun_normal lecun_uniform max_norm min_max_norm non_neg ones orthogonal
    orthogonal_regularizer radial_constraint random_normal random_uniform truncated_normal
    unit_norm variance_scaling zeros"""
NAMES = frozenset(_NAMES.split())
# Operations of Keras 3.
_OPERATIONS = """
    Abs Absolute AdaptiveAveragePool AdaptiveMaxPool Add AffineTransform All AllClose Amax Amin
    Angle Any Append Arange Arccos Arccosh Arcsin Arcsinh Arctan Arctan2 Arctanh Argmax Argmin
    Argpartition Argsort Array ArraySplit Average AveragePool BatchNorm BinaryCrossentropy Bincount
    BitwiseAnd BitwiseInvert BitwiseLeftShift BitwiseNot BitwiseOr BitwiseRightShift BitwiseXor
    BroadcastTo CDist CTCDecode CTCLoss Cast CategoricalCrossentropy Cbrt Ceil Celu Cholesky
    CholeskyInverse Clip Concatenate Conj Conjugate Conv ConvTranspose ConvertToTensor Copy
    Corrcoef Correlate Cos Cosh CountNonzero CropImages Cross Cumprod Cumsum Deg2rad DepthToSpace
    DepthwiseConv Det Diag Diagflat Diagonal Diff Digitize Divide DivideNoNan Dot
    DotProductAttention Dsplit Dstack Eig Eigh Einsum ElasticTransform Elu EmptyLike Equal Erf Erfc
    Erfinv Exp Exp2 ExpandDims Expm1 ExtractPatches ExtractSequences FFT FFT2 Fabs Flip Fliplr
    Flipud Floor FloorDivide Fmax Fmin Fmod Fold Full FullLike GaussianBlur Gcd Gelu Geomspace
    GetItem Glu Greater GreaterEqual HSVToRGB HardShrink HardSigmoid HardSilu HardTanh Heaviside
    Histogram Hsplit Hstack Hypot I0 IFFT2 IRFFT ISTFT Imag InTopK Inner Inv IsIn Isclose Isfinite
    Isinf Isnan Isneginf Isposinf Isreal Kron LayerNorm Lcm Ldexp LeakyRelu LeftShift Less
    LessEqual Linspace Log Log10 Log1p Log2 LogSigmoid LogSoftmax Logaddexp Logaddexp2 Logdet
    LogicalAnd LogicalNot LogicalOr LogicalXor Logspace Logsumexp Lstsq LuFactor MapCoordinates
    Matmul MatrixRank Max MaxPool Maximum Mean Median Meshgrid Min Minimum Mod Moments Moveaxis
    MultiHot Multiply NanToNum Nanargmax Nanargmin Nancumprod Nancumsum Nanmax Nanmean Nanmedian
    Nanmin Nanpercentile Nanprod Nanquantile Nanstd Nansum Nanvar Ndim Negative Nextafter Nonzero
    Norm Normalize NotEqual OneHot OnesLike Outer PSNR Pad PadImages Percentile
    PerspectiveTransform Pinv Polar Power Prod Ptp Qr Quantile RFFT RGBToGrayscale RGBToHSV RMSNorm
    Rad2deg Ravel Real Rearrange Reciprocal Relu Relu6 Repeat Reshape Resize RightShift Roll Rot90
    Round Rsqrt SSIM STFT SVD SaturateCast ScaleAndTranslate Scatter ScatterUpdate SearchSorted
    SegmentMax SegmentMin SegmentProd SegmentReduction SegmentSum Select Selu SeparableConv Sigmoid
    Sign Signbit Silu Sin Sinc Sinh Size Slice SliceUpdate Slogdet SobelEdges SoftShrink Softmax
    Softplus Softsign Solve SolveTriangular Sort SpaceToDepth SparseCategoricalCrossentropy
    SparsePlus SparseSigmoid Sparsemax Split Sqrt Square Squareplus Squeeze Stack Std StopGradient
    Subtract Sum Swapaxes Take TakeAlongAxis Tan Tanh TanhShrink Tensordot Threshold Tile TopK
    Trace Transpose Trapezoid Tril Triu TrueDivide Trunc Unfold Unique UnravelIndex Unstack Vander
    Var Vdot View ViewAsComplex ViewAsReal Vsplit Vstack Where ZerosLike"""
OPERATIONS = frozenset(_OPERATIONS.split())

# Functions that a layer names: activations, by their names in Keras and in TensorFlow, and what is
# not also a class among initializers, regularizers and constraints.
_FUNCTIONS = """
    celu crelu crelu_v2 elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish
    hard_tanh l1_l2 l1l2 leaky_relu linear log_sigmoid log_softmax log_softmax_v2 mish normal one
    relu relu6 selu sigmoid silu soft_shrink softmax softmax_v2 softplus softsign sparse_plus
    sparse_sigmoid sparsemax squareplus stft swish tanh tanh_shrink threshold uniform zero"""
FUNCTIONS = frozenset(_FUNCTIONS.split())
# Where they may come from: Keras searches these for a bare name.
_FUNCTION_MODULES = """
    builtins keras keras.activations keras.activations.activations keras.ops keras.ops.nn
    tensorflow.python.ops.nn_ops tensorflow.python.ops.nn_impl tensorflow.python.ops.math_ops
    tensorflow.python.ops.gen_nn_ops tensorflow.python.ops.gen_math_ops"""
FUNCTION_MODULES = frozenset(_FUNCTION_MODULES.split())


def is_class(module: str, name: str) -> bool:
    """Whether a class only computes; module: by its plain name, "" for a class of an `.h5` file."""
    package, _, inside = module.partition(".")
    if module in ("", *INITIALIZER_MODULES):
        return name in NAMES
    place = inside.partition(".")[0]
    names = OPERATIONS if place == "ops" else NAMES
    return package == "keras" and place in PLACES and name in names
