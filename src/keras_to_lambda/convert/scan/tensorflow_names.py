"""Names of TensorFlow: symbols and operators that only compute. Everything else is code.

SYMBOLS: what an operator layer of Keras 2 may call. OPERATORS: what the graph of a SavedModel may
hold. None of them reads or writes files, opens connections, calls Python or loads libraries.
"""

from __future__ import annotations

_SYMBOLS = {
    "": """
        abs acos acosh add add_n argmax argmin argsort asin asinh atan atan2 atanh batch_to_space
        bitcast boolean_mask broadcast_to cast clip_by_norm clip_by_value complex concat constant
        convert_to_tensor cos cosh cumsum divide dynamic_partition dynamic_stitch einsum
        ensure_shape equal exp expand_dims eye fill floor gather gather_nd greater greater_equal
        identity identity_n less less_equal linspace logical_and logical_not logical_or matmul
        maximum meshgrid minimum multiply negative norm not_equal one_hot ones ones_like pad pow
        range rank realdiv reduce_all reduce_any reduce_logsumexp reduce_max reduce_mean
        reduce_min reduce_prod reduce_sum repeat reshape reverse reverse_sequence roll round
        saturate_cast scalar_mul scatter_nd searchsorted sequence_mask shape shape_n sigmoid sign
        sin sinh size slice sort space_to_batch space_to_batch_nd split sqrt square squeeze stack
        stop_gradient strided_slice subtract tan tanh tensor_scatter_nd_add
        tensor_scatter_nd_max tensor_scatter_nd_min tensor_scatter_nd_sub
        tensor_scatter_nd_update tensordot tile transpose truediv truncatediv truncatemod unique
        unique_with_counts unravel_index unstack where zeros zeros_like""",
    "__operators__": "add getitem",
    "math": """
        abs accumulate_n acos acosh add add_n angle argmax argmin asin asinh atan atan2 atanh
        betainc bincount ceil conj cos cosh count_nonzero cumprod cumsum cumulative_logsumexp
        digamma divide divide_no_nan equal erf erfc erfcinv erfinv exp expm1 floor floordiv
        floormod greater greater_equal igamma igammac imag in_top_k invert_permutation is_finite
        is_inf is_nan l2_normalize lbeta less less_equal lgamma log log1p log_sigmoid log_softmax
        logical_and logical_not logical_or logical_xor maximum minimum mod multiply
        multiply_no_nan ndtri negative nextafter not_equal polygamma polyval pow real reciprocal
        reciprocal_no_nan reduce_all reduce_any reduce_euclidean_norm reduce_logsumexp reduce_max
        reduce_mean reduce_min reduce_prod reduce_std reduce_sum reduce_variance rint round rsqrt
        scalar_mul segment_max segment_mean segment_min segment_prod segment_sum sigmoid sign sin
        sinh softmax softplus softsign sqrt square squared_difference subtract tan tanh top_k
        truediv unsorted_segment_max unsorted_segment_mean unsorted_segment_min
        unsorted_segment_prod unsorted_segment_sqrt_n unsorted_segment_sum xdivy xlog1py xlogy
        zero_fraction zeta""",
    "nn": """
        atrous_conv2d atrous_conv2d_transpose avg_pool avg_pool1d avg_pool2d avg_pool3d
        batch_norm_with_global_normalization batch_normalization bias_add conv1d conv1d_transpose
        conv2d conv2d_transpose conv3d conv3d_transpose conv_transpose convolution crelu
        depth_to_space depthwise_conv2d dilation2d dropout elu embedding_lookup erosion2d gelu
        in_top_k l2_loss l2_normalize leaky_relu local_response_normalization log_softmax lrn
        max_pool max_pool1d max_pool2d max_pool3d max_pool_with_argmax moments normalize_moments
        pool relu relu6 selu separable_conv2d sigmoid_cross_entropy_with_logits silu softmax
        softmax_cross_entropy_with_logits softplus softsign space_to_batch space_to_depth
        sparse_softmax_cross_entropy_with_logits sufficient_statistics swish tanh top_k
        weighted_moments with_space_to_batch zero_fraction""",
    "linalg": """
        adjoint band_part cholesky cross det diag diag_part eigh einsum expm eye global_norm inv
        l2_normalize logdet matmul matrix_transpose matvec norm normalize pinv qr set_diag solve
        svd tensor_diag tensor_diag_part tensordot trace triangular_solve""",
    "bitwise": "bitwise_and bitwise_or bitwise_xor invert left_shift right_shift",
    "signal": "dct fft fft2d fft3d fftshift frame idct ifft ifft2d ifft3d ifftshift irfft "
    "irfft2d irfft3d overlap_and_add rfft rfft2d rfft3d stft inverse_stft",
    "image": """
        adjust_brightness adjust_contrast adjust_gamma adjust_hue adjust_saturation central_crop
        combined_non_max_suppression convert_image_dtype crop_and_resize crop_to_bounding_box
        extract_patches flip_left_right flip_up_down grayscale_to_rgb hsv_to_rgb
        image_gradients non_max_suppression non_max_suppression_padded pad_to_bounding_box
        per_image_standardization random_brightness random_contrast random_crop
        random_flip_left_right random_flip_up_down random_hue random_saturation resize
        resize_with_crop_or_pad resize_with_pad rgb_to_grayscale rgb_to_hsv rgb_to_yiq rgb_to_yuv
        rot90 sobel_edges total_variation transpose yiq_to_rgb yuv_to_rgb""",
    "random": "normal shuffle truncated_normal uniform stateless_normal stateless_uniform",
    "quantization": """
        fake_quant_with_min_max_args fake_quant_with_min_max_vars
        fake_quant_with_min_max_vars_per_channel quantize_and_dequantize
        quantize_and_dequantize_v2""",
    "compat.v1": """
        arg_max arg_min batch_gather batch_to_space batch_to_space_nd boolean_mask constant
        convert_to_tensor div expand_dims floor_div gather gather_nd norm ones_like pad
        reverse_sequence shape size squeeze to_bfloat16 to_double to_float to_int32 to_int64
        transpose where zeros_like""",
    "compat.v1.image": """
        crop_and_resize extract_image_patches resize_area resize_bicubic resize_bilinear
        resize_image_with_pad resize_images resize_nearest_neighbor""",
    "compat.v1.math": """
        argmax argmin bincount count_nonzero in_top_k reduce_all reduce_any reduce_logsumexp
        reduce_max reduce_mean reduce_min reduce_prod reduce_sum scalar_mul""",
    "compat.v1.nn": """
        avg_pool conv1d conv2d conv2d_transpose conv3d conv3d_transpose convolution crelu
        depth_to_space depthwise_conv2d depthwise_conv2d_native dilation2d dropout
        embedding_lookup erosion2d fused_batch_norm log_softmax max_pool max_pool_with_argmax
        moments pool relu_layer separable_conv2d softmax space_to_batch space_to_depth
        weighted_moments xw_plus_b""",
    "keras.activations": """
        elu exponential gelu hard_sigmoid linear mish relu selu sigmoid softmax softplus softsign
        swish tanh""",
    "keras.backend": """
        abs all any argmax argmin batch_dot batch_flatten batch_normalization bias_add cast
        cast_to_floatx clip concatenate constant conv1d conv2d conv2d_transpose conv3d cos cumprod
        cumsum depthwise_conv2d dot dropout elu equal exp expand_dims eye flatten gather greater
        greater_equal hard_sigmoid l2_normalize less less_equal log max maximum mean min minimum
        not_equal one_hot ones_like permute_dimensions pool2d pool3d pow prod relu repeat
        repeat_elements reshape resize_images reverse round separable_conv2d shape sigmoid sign
        sin softmax softplus softsign spatial_2d_padding sqrt square squeeze stack std
        stop_gradient sum tanh temporal_padding tile transpose var zeros_like""",
}
SYMBOLS = frozenset(
    f"{module}.{name}".lstrip(".") for module, names in _SYMBOLS.items() for name in names.split()
)

# Operators without a state.
_PURE = """
    Abs AccumulateNV2 Acos Acosh Add AddN AddV2 AdjustContrast AdjustContrastv2 AdjustHue
    AdjustSaturation All Angle Any ApproxTopK ApproximateEqual ArgMax ArgMin Asin Asinh Assign
    AssignAdd AssignSub Atan Atan2 Atanh AvgPool AvgPool3D AvgPool3DGrad AvgPoolGrad
    BandedTriangularSolve BatchMatMul BatchMatMulV2 BatchMatMulV3
    BatchNormWithGlobalNormalization BatchNormWithGlobalNormalizationGrad BatchToSpace
    BatchToSpaceND Betainc BiasAdd BiasAddGrad BiasAddV1 Bincount Bitcast BitwiseAnd BitwiseOr
    BitwiseXor BroadcastArgs BroadcastGradientArgs BroadcastTo Bucketize Cast Ceil Cholesky
    CholeskyGrad ClipByValue CombinedNonMaxSuppression Complex ComplexAbs Concat ConcatOffset
    ConcatV2 Conj ConjugateTranspose Const Conv Conv2D Conv2DBackpropFilter
    Conv2DBackpropFilterV2 Conv2DBackpropInput Conv2DBackpropInputV2 Conv3D Conv3DBackpropFilter
    Conv3DBackpropFilterV2 Conv3DBackpropInput Conv3DBackpropInputV2 Cos Cosh CountUpTo
    CropAndResize CropAndResizeGradBoxes CropAndResizeGradImage Cross Cumprod Cumsum
    CumulativeLogsumexp DataFormatDimMap DataFormatVecPermute DenseBincount DepthToSpace
    DepthwiseConv2dNative DepthwiseConv2dNativeBackpropFilter DepthwiseConv2dNativeBackpropInput
    Dequantize DestroyTemporaryVariable Diag DiagPart Digamma Dilation2D
    Dilation2DBackpropFilter Dilation2DBackpropInput Div DivNoNan DynamicPartition DynamicStitch
    EditDistance Eig Einsum Elu EluGrad EmptyTensorList EnsureShape Equal Erf Erfc Erfinv
    EuclideanNorm Exp ExpandDims Expm1 ExtractImagePatches ExtractVolumePatches FFT FFT2D FFT3D
    FFTND FakeParam FakeQuantWithMinMaxArgs FakeQuantWithMinMaxArgsGradient
    FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsGradient FakeQuantWithMinMaxVarsPerChannel
    FakeQuantWithMinMaxVarsPerChannelGradient Fill Floor FloorDiv FloorMod For FractionalAvgPool
    FractionalAvgPoolGrad FractionalMaxPool FractionalMaxPoolGrad FusedBatchNorm
    FusedBatchNormGrad FusedBatchNormGradV2 FusedBatchNormGradV3 FusedBatchNormV2
    FusedBatchNormV3 FusedPadConv2D FusedResizeAndPadConv2D Gather GatherNd GatherV2 Greater
    GreaterEqual HSVToRGB IFFT IFFT2D IFFT3D IFFTND IRFFT IRFFT2D IRFFT3D IRFFTND Identity
    IdentityN Igamma IgammaGradA Igammac Imag ImageProjectiveTransformV2
    ImageProjectiveTransformV3 InTopK InTopKV2 InplaceAdd InplaceSub InplaceUpdate Inv InvGrad
    Invert InvertPermutation IsFinite IsInf IsNan IsVariableInitialized L2Loss LRN LRNGrad
    LeakyRelu LeakyReluGrad LeftShift Less LessEqual Lgamma LinSpace ListDiff Log Log1p
    LogSoftmax LogicalAnd LogicalNot LogicalOr LowerBound Lu MatMul MatrixBandPart
    MatrixDeterminant MatrixDiag MatrixDiagPart MatrixDiagPartV2 MatrixDiagPartV3 MatrixDiagV2
    MatrixDiagV3 MatrixExponential MatrixInverse MatrixLogarithm MatrixSetDiag MatrixSetDiagV2
    MatrixSetDiagV3 MatrixSolve MatrixSolveLs MatrixSquareRoot MatrixTriangularSolve Max MaxPool
    MaxPool3D MaxPool3DGrad MaxPool3DGradGrad MaxPoolGrad MaxPoolGradGrad MaxPoolGradGradV2
    MaxPoolGradGradWithArgmax MaxPoolGradV2 MaxPoolGradWithArgmax MaxPoolV2 MaxPoolWithArgmax
    Maximum Mean Min Minimum MirrorPad MirrorPadGrad Mod Mul MulNoNan Ndtri Neg NoOp
    NonMaxSuppression NonMaxSuppressionV2 NonMaxSuppressionV3 NonMaxSuppressionV4
    NonMaxSuppressionV5 NonMaxSuppressionWithOverlaps NotEqual NthElement OneHot OnesLike Pack
    Pad PadV2 ParallelConcat ParallelDynamicStitch PartitionedCall Placeholder PlaceholderV2
    PlaceholderWithDefault Polygamma PopulationCount Pow PreventGradient Prod Qr RFFT RFFT2D
    RFFT3D RFFTND RGBToHSV RandomGammaGrad Range Rank Real RealDiv Reciprocal ReciprocalGrad
    Relu Relu6 Relu6Grad ReluGrad Reshape ResizeArea ResizeBicubic ResizeBicubicGrad
    ResizeBilinear ResizeBilinearGrad ResizeNearestNeighbor ResizeNearestNeighborGrad Reverse
    ReverseSequence ReverseV2 RightShift Rint Roll Round Rsqrt RsqrtGrad ScaleAndTranslate
    ScaleAndTranslateGrad ScatterNd ScatterNdNonAliasingAdd SegmentMax SegmentMaxV2 SegmentMean
    SegmentMin SegmentMinV2 SegmentProd SegmentProdV2 SegmentSum SegmentSumV2 Select SelectV2
    SelfAdjointEig SelfAdjointEigV2 Selu SeluGrad Shape ShapeN Sigmoid SigmoidGrad Sign Sin Sinh
    Size Slice Softmax SoftmaxCrossEntropyWithLogits Softplus SoftplusGrad Softsign SoftsignGrad
    SpaceToBatch SpaceToBatchND SpaceToDepth SparseSoftmaxCrossEntropyWithLogits SparseToDense
    Split SplitV Sqrt SqrtGrad Square SquaredDifference Squeeze StatelessCase StatelessIf
    StatelessParameterizedTruncatedNormal StatelessRandomBinomial StatelessRandomGammaV2
    StatelessRandomGammaV3 StatelessRandomGetKeyCounter StatelessRandomGetKeyCounterAlg
    StatelessRandomNormal StatelessRandomNormalV2 StatelessRandomPoisson StatelessRandomUniform
    StatelessRandomUniformFullInt StatelessRandomUniformFullIntV2 StatelessRandomUniformInt
    StatelessRandomUniformIntV2 StatelessRandomUniformV2 StatelessSampleDistortedBoundingBox
    StatelessShuffle StatelessTruncatedNormal StatelessTruncatedNormalV2 StatelessWhile
    StopGradient StridedSlice StridedSliceAssign StridedSliceGrad
    StaticRegexFullMatch StringFormat StringJoin Sub
    Sum Svd SymbolicGradient Tan Tanh TanhGrad TensorListConcat TensorListConcatLists
    TensorListConcatV2 TensorListElementShape TensorListFromTensor TensorListGather
    TensorListGetItem TensorListLength TensorListPopBack TensorListPushBack
    TensorListPushBackBatch TensorListReserve TensorListResize TensorListScatter
    TensorListScatterIntoExistingList TensorListScatterV2 TensorListSetItem TensorListSplit
    TensorListStack TensorScatterAdd TensorScatterMax TensorScatterMin TensorScatterSub
    TensorScatterUpdate TensorStridedSliceUpdate Tile TileGrad ToBool TopK TopKV2 Transpose
    TridiagonalMatMul TridiagonalSolve TruncateDiv TruncateMod Unique UniqueV2 UniqueWithCounts
    UniqueWithCountsV2 Unpack UnravelIndex UnsortedSegmentMax UnsortedSegmentMin
    UnsortedSegmentProd UnsortedSegmentSum UpperBound Where Xdivy Xlog1py Xlogy ZerosLike Zeta"""
# Operators with one: variables, random numbers, lists of tensors, calls of the graph's functions.
_STATEFUL = """
    Assert AssignAddVariableOp AssignSubVariableOp AssignVariableOp Case CheckNumerics
    CheckNumericsV2 CudnnRNN CudnnRNNBackpropV3 CudnnRNNV2 CudnnRNNV3 DeepCopy DeviceIndex
    DisableCopyOnRead Empty GuaranteeConst If NonDeterministicInts ParameterizedTruncatedNormal
    RandomCrop RandomGamma RandomPoisson RandomPoissonV2 RandomShuffle RandomStandardNormal
    RandomUniform RandomUniformInt ReadVariableOp ResourceApplyAdaMax ResourceApplyAdadelta
    ResourceApplyAdagrad ResourceApplyAdagradDA ResourceApplyAdagradV2 ResourceApplyAdam
    ResourceApplyAdamWithAmsgrad ResourceApplyAddSign ResourceApplyCenteredRMSProp
    ResourceApplyFtrl ResourceApplyFtrlV2 ResourceApplyGradientDescent
    ResourceApplyKerasMomentum ResourceApplyMomentum ResourceApplyPowerSign
    ResourceApplyProximalAdagrad ResourceApplyProximalGradientDescent ResourceApplyRMSProp
    ResourceGather ResourceGatherNd ResourceScatterAdd ResourceScatterDiv ResourceScatterMax
    ResourceScatterMin ResourceScatterMul ResourceScatterSub ResourceScatterUpdate
    ResourceStridedSliceAssign RngReadAndSkip RngSkip SampleDistortedBoundingBox
    SampleDistortedBoundingBoxV2 StatefulPartitionedCall StatefulRandomBinomial
    StatefulStandardNormal StatefulStandardNormalV2 StatefulTruncatedNormal StatefulUniform
    StatefulUniformFullInt StatefulUniformInt StatelessRandomGetAlg TemporaryVariable
    TensorArrayCloseV3 TensorArrayConcatV3 TensorArrayGatherV3 TensorArrayGradV3
    TensorArrayReadV3 TensorArrayScatterV3 TensorArraySizeV3 TensorArraySplitV3 TensorArrayV3
    TensorArrayWriteV3 TruncatedNormal VarHandleOp VarIsInitializedOp Variable VariableShape
    VariableV2 While"""
PURE, STATEFUL = frozenset(_PURE.split()), frozenset(_STATEFUL.split())
OPERATORS = PURE | STATEFUL
# Reads variables of the checkpoint whose path the loader gives.
RESTORE = "RestoreV2"
# Operators of the function that writes a checkpoint, which is never called.
SAVE = frozenset(("SaveV2", "MergeV2Checkpoints", "ShardedFilename"))
