"""Names of TensorFlow: symbols and operators that only compute. Everything else is code.

FUNCTIONS: what an operator layer of Keras 2 may call. STATELESS: the operators of such a
layer, and with STATEFUL those of a SavedModel's graph. None of them reads or writes files, opens
connections, calls Python or loads libraries.
"""

from __future__ import annotations

import re

# A symbol is one of these functions in one of these modules.
_MODULES = """
    __operators__ bitwise compat.v1 compat.v1.image compat.v1.math compat.v1.nn image
    keras.activations keras.backend linalg math nn quantization random signal"""
_FUNCTIONS = """
    abs accumulate_n acos acosh add add_n adjoint adjust_brightness adjust_contrast adjust_gamma
    adjust_hue adjust_saturation all angle any arg_max arg_min argmax argmin argsort asin asinh
    atan atan2 atanh atrous_conv2d atrous_conv2d_transpose avg_pool avg_pool1d avg_pool2d
    avg_pool3d band_part batch_dot batch_flatten batch_gather batch_norm_with_global_normalization
    batch_normalization batch_to_space batch_to_space_nd betainc bias_add bincount bitcast
    bitwise_and bitwise_or bitwise_xor boolean_mask broadcast_to cast cast_to_floatx ceil
    central_crop cholesky clip clip_by_norm clip_by_value combined_non_max_suppression complex
    concat concatenate conj constant conv1d conv1d_transpose conv2d conv2d_transpose conv3d
    conv3d_transpose conv_transpose convert_image_dtype convert_to_tensor convolution cos cosh
    count_nonzero crelu crop_and_resize crop_to_bounding_box cross cumprod cumsum
    cumulative_logsumexp dct depth_to_space depthwise_conv2d depthwise_conv2d_native det diag
    diag_part digamma dilation2d div divide divide_no_nan dot dropout dynamic_partition
    dynamic_stitch eigh einsum elu embedding_lookup ensure_shape equal erf erfc erfcinv erfinv
    erosion2d exp expand_dims expm expm1 exponential extract_image_patches extract_patches eye
    fake_quant_with_min_max_args fake_quant_with_min_max_vars
    fake_quant_with_min_max_vars_per_channel fft fft2d fft3d fftshift fill flatten flip_left_right
    flip_up_down floor floor_div floordiv floormod frame fused_batch_norm gather gather_nd gelu
    getitem global_norm grayscale_to_rgb greater greater_equal hard_sigmoid hsv_to_rgb idct
    identity identity_n ifft ifft2d ifft3d ifftshift igamma igammac imag image_gradients in_top_k
    inv inverse_stft invert invert_permutation irfft irfft2d irfft3d is_finite is_inf is_nan
    l2_loss l2_normalize lbeta leaky_relu left_shift less less_equal lgamma linear linspace
    local_response_normalization log log1p log_sigmoid log_softmax logdet logical_and logical_not
    logical_or logical_xor lrn matmul matrix_transpose matvec max max_pool max_pool1d max_pool2d
    max_pool3d max_pool_with_argmax maximum mean meshgrid min minimum mish mod moments multiply
    multiply_no_nan ndtri negative nextafter non_max_suppression non_max_suppression_padded norm
    normal normalize normalize_moments not_equal one_hot ones ones_like overlap_and_add pad
    pad_to_bounding_box per_image_standardization permute_dimensions pinv polygamma polyval pool
    pool2d pool3d pow prod qr quantize_and_dequantize quantize_and_dequantize_v2 random_brightness
    random_contrast random_crop random_flip_left_right random_flip_up_down random_hue
    random_saturation range rank real realdiv reciprocal reciprocal_no_nan reduce_all reduce_any
    reduce_euclidean_norm reduce_logsumexp reduce_max reduce_mean reduce_min reduce_prod reduce_std
    reduce_sum reduce_variance relu relu6 relu_layer repeat repeat_elements reshape resize
    resize_area resize_bicubic resize_bilinear resize_image_with_pad resize_images
    resize_nearest_neighbor resize_with_crop_or_pad resize_with_pad reverse reverse_sequence rfft
    rfft2d rfft3d rgb_to_grayscale rgb_to_hsv rgb_to_yiq rgb_to_yuv right_shift rint roll rot90
    round rsqrt saturate_cast scalar_mul scatter_nd searchsorted segment_max segment_mean
    segment_min segment_prod segment_sum selu separable_conv2d sequence_mask set_diag shape shape_n
    shuffle sigmoid sigmoid_cross_entropy_with_logits sign silu sin sinh size slice sobel_edges
    softmax softmax_cross_entropy_with_logits softplus softsign solve sort space_to_batch
    space_to_batch_nd space_to_depth sparse_softmax_cross_entropy_with_logits spatial_2d_padding
    split sqrt square squared_difference squeeze stack stateless_normal stateless_uniform std stft
    stop_gradient strided_slice subtract sufficient_statistics sum svd swish tan tanh
    temporal_padding tensor_diag tensor_diag_part tensor_scatter_nd_add tensor_scatter_nd_max
    tensor_scatter_nd_min tensor_scatter_nd_sub tensor_scatter_nd_update tensordot tile to_bfloat16
    to_double to_float to_int32 to_int64 top_k total_variation trace transpose triangular_solve
    truediv truncated_normal truncatediv truncatemod uniform unique unique_with_counts
    unravel_index unsorted_segment_max unsorted_segment_mean unsorted_segment_min
    unsorted_segment_prod unsorted_segment_sqrt_n unsorted_segment_sum unstack var weighted_moments
    where with_space_to_batch xdivy xlog1py xlogy xw_plus_b yiq_to_rgb yuv_to_rgb zero_fraction
    zeros zeros_like zeta"""
MODULES = frozenset(("", *_MODULES.split()))
FUNCTIONS = frozenset(_FUNCTIONS.split())
# Without the numbers of later releases (V2), and without gradients: see `is_operator`.
_STATELESS = """
    Abs AccumulateN Acos Acosh Add AddN AdjustContrast AdjustContrastv2 AdjustHue AdjustSaturation
    All Angle Any ApproxTopK ApproximateEqual ArgMax ArgMin Asin Asinh Assign AssignAdd AssignSub
    Atan Atan2 Atanh AvgPool AvgPool3D BandedTriangularSolve BatchMatMul
    BatchNormWithGlobalNormalization BatchToSpace BatchToSpaceND Betainc BiasAdd Bincount Bitcast
    BitwiseAnd BitwiseOr BitwiseXor Broadcast BroadcastArgs BroadcastTo Bucketize Cast Ceil
    Cholesky ClipByValue CombinedNonMaxSuppression Complex ComplexAbs Concat ConcatOffset Conj
    ConjugateTranspose Const Conv Conv2D Conv2DBackpropFilter Conv2DBackpropInput Conv3D
    Conv3DBackpropFilter Conv3DBackpropInput Cos Cosh CountUpTo CropAndResize Cross Cumprod Cumsum
    CumulativeLogsumexp DataFormatDimMap DataFormatVecPermute DenseBincount DepthToSpace
    DepthwiseConv2dNative DepthwiseConv2dNativeBackpropFilter DepthwiseConv2dNativeBackpropInput
    Dequantize DestroyTemporaryVariable Diag DiagPart Digamma Dilation2D Dilation2DBackpropFilter
    Dilation2DBackpropInput Div DivNoNan DynamicPartition DynamicStitch EditDistance Eig Einsum Elu
    EmptyTensorList EnsureShape Equal Erf Erfc Erfinv EuclideanNorm Exp ExpandDims Expm1
    ExtractImagePatches ExtractVolumePatches FFT FFT2D FFT3D FFTND FakeParam
    FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel Fill Floor
    FloorDiv FloorMod For FractionalAvgPool FractionalMaxPool FusedBatchNorm FusedPadConv2D
    FusedResizeAndPadConv2D Gather GatherNd Greater GreaterEqual HSVToRGB IFFT IFFT2D IFFT3D IFFTND
    IRFFT IRFFT2D IRFFT3D IRFFTND Identity IdentityN Igamma Igammac Imag ImageProjectiveTransform
    InTopK InplaceAdd InplaceSub InplaceUpdate Inv Invert InvertPermutation IsFinite IsInf IsNan
    IsVariableInitialized L2Loss LRN LeakyRelu LeftShift Less LessEqual Lgamma LinSpace ListDiff
    Log Log1p LogSoftmax LogicalAnd LogicalNot LogicalOr LowerBound Lu MatMul MatrixBandPart
    MatrixDeterminant MatrixDiag MatrixDiagPart MatrixExponential MatrixInverse MatrixLogarithm
    MatrixSetDiag MatrixSolve MatrixSolveLs MatrixSquareRoot MatrixTriangularSolve Max MaxPool
    MaxPool3D MaxPoolWithArgmax Maximum Mean Min Minimum MirrorPad Mod Mul MulNoNan Ndtri Neg NoOp
    NonMaxSuppression NonMaxSuppressionWithOverlaps NotEqual NthElement OneHot OnesLike Pack Pad
    ParallelConcat ParallelDynamicStitch PartitionedCall Placeholder PlaceholderWithDefault
    Polygamma PopulationCount Pow Prevent Prod Qr RFFT RFFT2D RFFT3D RFFTND RGBToHSV Range Rank
    Real RealDiv Reciprocal Relu Relu6 Reshape ResizeArea ResizeBicubic ResizeBilinear
    ResizeNearestNeighbor Reverse ReverseSequence RightShift Rint Roll Round Rsqrt
    ScaleAndTranslate ScatterNd ScatterNdNonAliasingAdd SegmentMax SegmentMean SegmentMin
    SegmentProd SegmentSum Select SelfAdjointEig Selu Shape ShapeN Sigmoid Sign Sin Sinh Size Slice
    Softmax SoftmaxCrossEntropyWithLogits Softplus Softsign SpaceToBatch SpaceToBatchND
    SpaceToDepth SparseSoftmaxCrossEntropyWithLogits SparseToDense Split SplitV Sqrt Square
    SquaredDifference Squeeze StatelessCase StatelessIf StatelessParameterizedTruncatedNormal
    StatelessRandomBinomial StatelessRandomGamma StatelessRandomGetKeyCounter
    StatelessRandomGetKeyCounterAlg StatelessRandomNormal StatelessRandomPoisson
    StatelessRandomUniform StatelessRandomUniformFullInt StatelessRandomUniformInt
    StatelessSampleDistortedBoundingBox StatelessShuffle StatelessTruncatedNormal StatelessWhile
    StaticRegexFullMatch Stop StridedSlice StridedSliceAssign StringFormat StringJoin Sub Sum Svd
    Symbolic Tan Tanh TensorListConcat TensorListConcatLists TensorListElementShape
    TensorListFromTensor TensorListGather TensorListGetItem TensorListLength TensorListPopBack
    TensorListPushBack TensorListPushBackBatch TensorListReserve TensorListResize TensorListScatter
    TensorListScatterIntoExistingList TensorListSetItem TensorListSplit TensorListStack
    TensorScatterAdd TensorScatterMax TensorScatterMin TensorScatterSub TensorScatterUpdate
    TensorStridedSliceUpdate Tile ToBool TopK Transpose TridiagonalMatMul TridiagonalSolve
    TruncateDiv TruncateMod Unique UniqueWithCounts Unpack UnravelIndex UnsortedSegmentMax
    UnsortedSegmentMin UnsortedSegmentProd UnsortedSegmentSum UpperBound Where Xdivy Xlog1py Xlogy
    ZerosLike Zeta"""
# Variables, random numbers, lists of tensors, calls of the graph's functions.
_STATEFUL = """
    Assert AssignAddVariableOp AssignSubVariableOp AssignVariableOp Case CheckNumerics CudnnRNN
    CudnnRNNBackprop DeepCopy DeviceIndex DisableCopyOnRead Empty GuaranteeConst If
    NonDeterministicInts ParameterizedTruncatedNormal RandomCrop RandomGamma RandomPoisson
    RandomShuffle RandomStandardNormal RandomUniform RandomUniformInt ReadVariableOp ResourceApply
    ResourceApplyAdaMax ResourceApplyAdadelta ResourceApplyAdagrad ResourceApplyAdagradDA
    ResourceApplyAdam ResourceApplyAdamWithAmsgrad ResourceApplyAddSign
    ResourceApplyCenteredRMSProp ResourceApplyFtrl ResourceApplyKerasMomentum ResourceApplyMomentum
    ResourceApplyPowerSign ResourceApplyProximal ResourceApplyProximalAdagrad ResourceApplyRMSProp
    ResourceGather ResourceGatherNd ResourceScatterAdd ResourceScatterDiv ResourceScatterMax
    ResourceScatterMin ResourceScatterMul ResourceScatterSub ResourceScatterUpdate
    ResourceStridedSliceAssign RngReadAndSkip RngSkip SampleDistortedBoundingBox
    StatefulPartitionedCall StatefulRandomBinomial StatefulStandardNormal StatefulTruncatedNormal
    StatefulUniform StatefulUniformFullInt StatefulUniformInt StatelessRandomGetAlg
    TemporaryVariable TensorArray TensorArrayClose TensorArrayConcat TensorArrayGather
    TensorArrayRead TensorArrayScatter TensorArraySize TensorArraySplit TensorArrayWrite
    TruncatedNormal VarHandleOp VarIsInitializedOp Variable VariableShape While"""
STATELESS, STATEFUL = frozenset(_STATELESS.split()), frozenset(_STATEFUL.split())
_LATER = re.compile(r"(Grad[A-Z]?.*)?(V\d)?$")
# Reads variables of the checkpoint whose path the loader gives.
RESTORE = "RestoreV2"
# Operators of the function that writes a checkpoint, which is never called.
SAVE = frozenset(("SaveV2", "MergeV2Checkpoints", "ShardedFilename"))


def is_symbol(name: str) -> bool:
    """Whether a function of TensorFlow, such as math.add, only computes."""
    module, _, function = name.rpartition(".")
    return module in MODULES and function in FUNCTIONS


def is_operator(name: str, *, stateless: bool = False) -> bool:
    """Whether an operator, one of its releases (MulV2) or its gradient (MulGrad) only computes.

    stateless: whether it must have no variables, no randomness and no functions of the graph.
    """
    first = _LATER.sub("", name, count=1)
    return first in STATELESS or (first in STATEFUL and not stateless)
