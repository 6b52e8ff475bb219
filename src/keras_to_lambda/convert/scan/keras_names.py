"""Names of Keras: the classes and functions that only compute. Everything else is code.

A configuration names classes by module and name (`.keras`), or by name alone (`.h5`), and Keras
imports what it finds. CLASSES is compared with the installed Keras 3 and tf_keras by a test.
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

# By module, without the `src` in it, and `tf_keras` as `keras`.
_CLASSES = {
    "keras": "DTypePolicy FloatDTypePolicy Initializer Layer Model Regularizer Sequential",
    "keras.__internal__.layers": "BaseRandomLayer",
    "keras._legacy.layers": "AlphaDropout RandomHeight RandomWidth ThresholdedReLU",
    "keras.applications.convnext": "LayerScale StochasticDepth",
    "keras.applications.inception_resnet_v2": "CustomScaleLayer",
    "keras.constraints": """
        Constraint MaxNorm MinMaxNorm NonNeg RadialConstraint UnitNorm max_norm min_max_norm
        non_neg radial_constraint unit_norm""",
    "keras.dtype_policies": """
        AWQDTypePolicy DTypePolicyMap GPTQDTypePolicy Int4DTypePolicy QuantizedDTypePolicy
        QuantizedFloat8DTypePolicy""",
    "keras.engine.base_layer": "AddLoss AddMetric",
    "keras.engine.functional": "Functional",
    "keras.initializers": """
        Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity Initializer
        LecunNormal LecunUniform Ones Orthogonal RandomNormal RandomUniform STFT
        TruncatedNormal VarianceScaling Zeros constant glorot_normal glorot_uniform he_normal
        he_uniform identity lecun_normal lecun_uniform ones orthogonal random_normal
        random_uniform truncated_normal variance_scaling zeros""",
    "keras.initializers.random_initializers": "RandomInitializer",
    "keras.layers": """
        AbstractRNNCell Activation ActivityRegularization AdaptiveAveragePooling1D
        AdaptiveAveragePooling2D AdaptiveAveragePooling3D AdaptiveMaxPooling1D
        AdaptiveMaxPooling2D AdaptiveMaxPooling3D Add AdditiveAttention AlphaDropout Attention
        AugMix AutoContrast Average AveragePooling1D AveragePooling2D AveragePooling3D
        AvgPool1D AvgPool2D AvgPool3D BatchNormalization Bidirectional CategoryEncoding
        CenterCrop Concatenate ContrastLimitedAdaptiveHistogramEqualization Conv1D
        Conv1DTranspose Conv2D Conv2DTranspose Conv3D Conv3DTranspose ConvLSTM1D ConvLSTM2D
        ConvLSTM3D Convolution1D Convolution1DTranspose Convolution2D Convolution2DTranspose
        Convolution3D Convolution3DTranspose Cropping1D Cropping2D Cropping3D CuDNNGRU
        CuDNNLSTM CutMix Dense DepthwiseConv1D DepthwiseConv2D Discretization Dot Dropout ELU
        EinsumDense Embedding Equalization Flatten GRU GRUCell GaussianDropout GaussianNoise
        GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D GlobalAvgPool1D
        GlobalAvgPool2D GlobalAvgPool3D GlobalMaxPool1D GlobalMaxPool2D GlobalMaxPool3D
        GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D GroupNormalization
        GroupQueryAttention HashedCrossing Hashing Identity InputLayer IntegerLookup LSTM
        LSTMCell Layer LayerNormalization LeakyReLU LocallyConnected1D LocallyConnected2D
        Masking MaxNumBoundingBoxes MaxPool1D MaxPool2D MaxPool3D MaxPooling1D MaxPooling2D
        MaxPooling3D Maximum MelSpectrogram Minimum MixUp MultiHeadAttention Multiply
        Normalization PReLU Permute Pipeline RMSNormalization RNN RandAugment RandomBrightness
        RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop
        RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale
        RandomHeight RandomHue RandomInvert RandomPerspective RandomPosterization
        RandomRotation RandomSaturation RandomSharpness RandomShear RandomTranslation
        RandomWidth RandomZoom ReLU RepeatVector Rescaling Reshape Resizing
        ReversibleEmbedding STFTSpectrogram SeparableConv1D SeparableConv2D
        SeparableConvolution1D SeparableConvolution2D SimpleRNN SimpleRNNCell Softmax
        Solarization SpatialDropout1D SpatialDropout2D SpatialDropout3D SpectralNormalization
        StackedRNNCells StringLookup Subtract TextVectorization ThresholdedReLU
        TimeDistributed UnitNormalization UpSampling1D UpSampling2D UpSampling3D Wrapper
        ZeroPadding1D ZeroPadding2D ZeroPadding3D""",
    "keras.layers.convolutional.base_conv": "BaseConv",
    "keras.layers.convolutional.base_conv_transpose": "BaseConvTranspose",
    "keras.layers.convolutional.base_depthwise_conv": "BaseDepthwiseConv",
    "keras.layers.convolutional.base_separable_conv": "BaseSeparableConv",
    "keras.layers.experimental": "EinsumDense SyncBatchNormalization",
    "keras.layers.experimental.preprocessing": """
        CategoryEncoding CenterCrop Discretization HashedCrossing Hashing IntegerLookup
        Normalization RandomContrast RandomCrop RandomFlip RandomHeight RandomRotation
        RandomTranslation RandomWidth RandomZoom Rescaling Resizing StringLookup
        TextVectorization""",
    "keras.layers.merging.base_merge": "Merge",
    "keras.layers.normalization.batch_normalization": "BatchNormalizationBase",
    "keras.layers.pooling.base_adaptive_pooling": """
        BaseAdaptiveAveragePooling BaseAdaptiveMaxPooling BaseAdaptivePooling""",
    "keras.layers.pooling.base_global_pooling": "BaseGlobalPooling",
    "keras.layers.pooling.base_pooling": "BasePooling",
    "keras.layers.preprocessing.data_layer": "DataLayer",
    "keras.layers.preprocessing.image_preprocessing.base_image_preprocessing_layer": """
        BaseImagePreprocessingLayer""",
    "keras.layers.preprocessing.index_lookup": "IndexLookup",
    "keras.layers.regularization.spatial_dropout": "BaseSpatialDropout",
    "keras.layers.rnn.conv_lstm": "ConvLSTM ConvLSTMCell",
    "keras.mixed_precision": "Policy",
    "keras.models": "Model Sequential",
    "keras.models.functional": "Functional",
    "keras.ops.core": """
        Cast ConvertToTensor SaturateCast Scatter ScatterUpdate Slice SliceUpdate StopGradient
        Unstack""",
    "keras.ops.einops": "Rearrange",
    "keras.ops.image": """
        AffineTransform CropImages ElasticTransform ExtractPatches GaussianBlur HSVToRGB
        MapCoordinates PadImages PerspectiveTransform RGBToGrayscale RGBToHSV Resize SSIM
        ScaleAndTranslate SobelEdges""",
    "keras.ops.linalg": """
        Cholesky CholeskyInverse Det Eig Eigh Inv Lstsq LuFactor MatrixRank Norm Pinv Qr SVD
        Solve SolveTriangular""",
    "keras.ops.math": """
        CDist Erf Erfc Erfinv ExtractSequences FFT FFT2 IFFT2 IRFFT ISTFT InTopK Logdet
        Logsumexp RFFT Rsqrt STFT SegmentMax SegmentMin SegmentProd SegmentReduction
        SegmentSum TopK ViewAsComplex ViewAsReal""",
    "keras.ops.nn": """
        AdaptiveAveragePool AdaptiveMaxPool AveragePool BatchNorm BinaryCrossentropy CTCDecode
        CTCLoss CategoricalCrossentropy Celu Conv ConvTranspose DepthToSpace DepthwiseConv
        DotProductAttention Elu Fold Gelu Glu HardShrink HardSigmoid HardSilu HardTanh
        LayerNorm LeakyRelu LogSigmoid LogSoftmax MaxPool Moments MultiHot Normalize OneHot
        PSNR Polar RMSNorm Relu Relu6 Selu SeparableConv Sigmoid Silu SoftShrink Softmax
        Softplus Softsign SpaceToDepth SparseCategoricalCrossentropy SparsePlus SparseSigmoid
        Sparsemax Squareplus TanhShrink Threshold Unfold""",
    "keras.ops.numpy": """
        Abs Absolute Add All AllClose Amax Amin Angle Any Append Arange Arccos Arccosh Arcsin
        Arcsinh Arctan Arctan2 Arctanh Argmax Argmin Argpartition Argsort Array ArraySplit
        Average Bincount BitwiseAnd BitwiseInvert BitwiseLeftShift BitwiseNot BitwiseOr
        BitwiseRightShift BitwiseXor BroadcastTo Cbrt Ceil Clip Concatenate Conj Conjugate
        Copy Corrcoef Correlate Cos Cosh CountNonzero Cross Cumprod Cumsum Deg2rad Diag
        Diagflat Diagonal Diff Digitize Divide DivideNoNan Dot Dsplit Dstack Einsum EmptyLike
        Equal Exp Exp2 ExpandDims Expm1 Fabs Flip Fliplr Flipud Floor FloorDivide Fmax Fmin
        Fmod Full FullLike Gcd Geomspace GetItem Greater GreaterEqual Heaviside Histogram
        Hsplit Hstack Hypot I0 Imag Inner IsIn Isclose Isfinite Isinf Isnan Isneginf Isposinf
        Isreal Kron Lcm Ldexp LeftShift Less LessEqual Linspace Log Log10 Log1p Log2 Logaddexp
        Logaddexp2 LogicalAnd LogicalNot LogicalOr LogicalXor Logspace Matmul Max Maximum Mean
        Median Meshgrid Min Minimum Mod Moveaxis Multiply NanToNum Nanargmax Nanargmin
        Nancumprod Nancumsum Nanmax Nanmean Nanmedian Nanmin Nanpercentile Nanprod Nanquantile
        Nanstd Nansum Nanvar Ndim Negative Nextafter Nonzero NotEqual OnesLike Outer Pad
        Percentile Power Prod Ptp Quantile Rad2deg Ravel Real Reciprocal Repeat Reshape
        RightShift Roll Rot90 Round SearchSorted Select Sign Signbit Sin Sinc Sinh Size
        Slogdet Sort Split Sqrt Square Squeeze Stack Std Subtract Sum Swapaxes Take
        TakeAlongAxis Tan Tanh Tensordot Tile Trace Transpose Trapezoid Tril Triu TrueDivide
        Trunc Unique UnravelIndex Vander Var Vdot View Vsplit Vstack Where ZerosLike""",
    "keras.regularizers": """
        L1 L1L2 L2 OrthogonalRegularizer Regularizer l1 l2 orthogonal_regularizer""",
    "keras.utils": "FeatureSpace",
}
# TensorFlow's own initializers (tf.random_normal_initializer and others).
_INITIALIZERS = """
    Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity LecunNormal LecunUniform Ones
    Orthogonal RandomNormal RandomUniform TruncatedNormal VarianceScaling Zeros"""
_CLASSES |= {
    f"tensorflow.python.ops.{module}": _INITIALIZERS for module in ("init_ops", "init_ops_v2")
}
CLASSES = frozenset((module, name) for module, names in _CLASSES.items() for name in names.split())

# Without a module: Keras 1 and 2 in .h5 files. First what older releases called differently.
_OLDER = """
    AtrousConvolution1D AtrousConvolution2D BatchNormalizationV1 BatchNormalizationV2 ConstantV2
    Container Deconvolution2D Deconvolution3D GRUCellV1 GRUCellV2 GRUV1 GRUV2 GlorotNormalV2
    GlorotUniformV2 HeNormalV2 HeUniformV2 Highway IdentityV2 LSTMCellV1 LSTMCellV2 LSTMV1 LSTMV2
    LecunNormalV2 LecunUniformV2 MaxoutDense Merge OnesV2 OrthogonalV2 PolicyV1 RandomNormalV2
    RandomUniformV2 SyncBatchNormalization TimeDistributedDense TruncatedNormalV2
    VarianceScalingV2 ZerosV2
    Custom>CustomScaleLayer"""
NAMES = frozenset(_OLDER.split()) | {
    name for module, name in CLASSES if not module.startswith("keras.ops")
}
# Operations of Keras 3 in .h5 files.
OPERATIONS = frozenset(name for module, name in CLASSES if module.startswith("keras.ops"))

# Functions that a layer names: activations, by their names in Keras and in TensorFlow.
_ACTIVATIONS = """
    celu crelu crelu_v2 elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish
    hard_tanh leaky_relu linear log_sigmoid log_softmax log_softmax_v2 mish relu relu6 selu
    sigmoid silu
    soft_shrink softmax softmax_v2 softplus softsign sparse_plus sparse_sigmoid sparsemax
    squareplus swish tanh tanh_shrink threshold"""
ACTIVATIONS = frozenset(_ACTIVATIONS.split())
# Where they may come from: Keras searches these for a bare name.
_FUNCTION_MODULES = """
    builtins keras keras.activations keras.activations.activations keras.ops keras.ops.nn
    tensorflow.python.ops.nn_ops tensorflow.python.ops.nn_impl tensorflow.python.ops.math_ops
    tensorflow.python.ops.gen_nn_ops tensorflow.python.ops.gen_math_ops"""
FUNCTION_MODULES = frozenset(_FUNCTION_MODULES.split())
# Strings that Keras resolves to a class or function.
_INITIALIZER_NAMES = """
    constant glorot_normal glorot_uniform he_normal he_uniform identity lecun_normal lecun_uniform
    normal one ones orthogonal random_normal random_uniform stft truncated_normal uniform
    variance_scaling zero zeros"""
INITIALIZERS = frozenset(_INITIALIZER_NAMES.split())
_OTHERS = "l1 l2 l1_l2 l1l2 orthogonal_regularizer max_norm min_max_norm non_neg unit_norm"
OTHERS = frozenset(_OTHERS.split())
