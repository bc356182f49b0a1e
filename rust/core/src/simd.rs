//! Vectors of sixteen `f32` lanes for every instruction set.
//!
//! The kernels of the network are written once, over [`Simd`], and instantiated for each
//! instruction set. A value of [`Avx2`] or [`Avx512`] proves that the processor has it: only
//! [`Level::detect`] makes one.
#![allow(unsafe_code, reason = "intrinsics; each use says why it is sound")]

#[cfg(target_arch = "aarch64")]
use std::arch::aarch64::*;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// Number of lanes of a vector: output channels of a layer.
pub(crate) const LANES: usize = 16;

/// Sixteen `f32` in memory, on one cache line.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C, align(64))]
pub(crate) struct Lanes(pub [f32; LANES]);

impl Lanes {
    pub(crate) const ZERO: Self = Self([0.0; LANES]);
}

/// Sixteen quantized weights in memory, little-endian.
pub(crate) type Codes = [u8; 2 * LANES];

/// Instruction set.
pub(crate) trait Simd: Copy {
    /// Sixteen `f32` in registers.
    type Vector: Copy;

    /// True if 16 accumulators fit into the registers; else 4.
    const WIDE: bool;

    /// Runs `work` compiled for this instruction set, if `work` is `#[inline(always)]`.
    fn run<R>(self, work: impl FnOnce() -> R) -> R;

    fn splat(self, x: f32) -> Self::Vector;
    fn load(self, from: &Lanes) -> Self::Vector;
    fn store(self, v: Self::Vector, to: &mut Lanes);
    /// Converts stored weights, which are whole numbers, to `f32`.
    fn decode(self, codes: &Codes) -> Self::Vector;
    /// Returns `a * b + c`; fused on all but [`Scalar`].
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
}

/// Compiles `$work` for each instruction set and runs the one of `$level`.
macro_rules! on {
    ($level:expr, $simd:ident => $work:expr) => {
        match $level {
            $crate::simd::Level::Scalar($simd) => $crate::simd::Simd::run(
                $simd,
                #[inline(always)]
                || $work,
            ),
            #[cfg(target_arch = "x86_64")]
            $crate::simd::Level::Avx2($simd) => $crate::simd::Simd::run(
                $simd,
                #[inline(always)]
                || $work,
            ),
            #[cfg(target_arch = "x86_64")]
            $crate::simd::Level::Avx512($simd) => $crate::simd::Simd::run(
                $simd,
                #[inline(always)]
                || $work,
            ),
            #[cfg(target_arch = "aarch64")]
            $crate::simd::Level::Neon($simd) => $crate::simd::Simd::run(
                $simd,
                #[inline(always)]
                || $work,
            ),
        }
    };
}
pub(crate) use on;

/// Instruction set of the processor. The variants hold the proof that it is present.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Level {
    Scalar(Scalar),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
}

impl Level {
    /// Returns the best level of this processor.
    pub(crate) fn detect() -> Self {
        *Self::all().last().expect("scalar is always there")
    }

    /// Returns the level for code that LLVM vectorizes: it does worse with AVX-512 than with AVX2.
    pub(crate) fn for_plain_code(self) -> Self {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => Self::Avx2(Avx2(())), // the proof holds for less, too
            level => level,
        }
    }

    /// Lists every level of this processor, the best one last.
    pub(crate) fn all() -> &'static [Self] {
        static LEVELS: std::sync::OnceLock<Vec<Level>> = std::sync::OnceLock::new();
        LEVELS.get_or_init(|| {
            #[allow(unused_mut, reason = "other processors have the reference only")]
            let mut levels = vec![Self::Scalar(Scalar)];
            #[cfg(target_arch = "x86_64")]
            {
                let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
                if avx2 {
                    levels.push(Self::Avx2(Avx2(())));
                }
                if avx2 && is_x86_feature_detected!("avx512f") {
                    levels.push(Self::Avx512(Avx512(())));
                }
            }
            #[cfg(target_arch = "aarch64")]
            levels.push(Self::Neon(Neon(())));
            levels
        })
    }
}

/// Plain Rust, on any processor: the reference.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scalar;

impl Simd for Scalar {
    type Vector = [f32; LANES];

    const WIDE: bool = false;

    #[inline(always)]
    fn run<R>(self, work: impl FnOnce() -> R) -> R {
        work()
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::Vector {
        [x; LANES]
    }

    #[inline(always)]
    fn load(self, from: &Lanes) -> Self::Vector {
        from.0
    }

    #[inline(always)]
    fn store(self, v: Self::Vector, to: &mut Lanes) {
        to.0 = v;
    }

    #[inline(always)]
    fn decode(self, codes: &Codes) -> Self::Vector {
        let mut v = [0.0; LANES];
        for (x, code) in v.iter_mut().zip(codes.as_chunks().0) {
            *x = f32::from(i16::from_le_bytes(*code));
        }
        v
    }

    #[inline(always)]
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
        let mut v = [0.0; LANES];
        for i in 0..LANES {
            v[i] = a[i] * b[i] + c[i];
        }
        v
    }
}

/// AVX2 and FMA: two registers.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx2(());

#[cfg(target_arch = "x86_64")]
impl Simd for Avx2 {
    type Vector = [__m256; 2];

    const WIDE: bool = false;

    #[inline(always)]
    fn run<R>(self, work: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "avx2,fma")]
        fn run<R>(work: impl FnOnce() -> R) -> R {
            work()
        }
        // SAFETY: `self` proves that the processor has AVX2 and FMA.
        unsafe { run(work) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::Vector {
        // SAFETY: `self` proves that the processor has AVX2 and FMA.
        unsafe { [_mm256_set1_ps(x); 2] }
    }

    #[inline(always)]
    fn load(self, from: &Lanes) -> Self::Vector {
        let p = from.0.as_ptr();
        // SAFETY: `self` proves AVX2; `from` is 16 floats, aligned to 64 bytes.
        unsafe { [_mm256_load_ps(p), _mm256_load_ps(p.add(8))] }
    }

    #[inline(always)]
    fn store(self, v: Self::Vector, to: &mut Lanes) {
        let p = to.0.as_mut_ptr();
        // SAFETY: `self` proves AVX2; `to` is 16 floats, aligned to 64 bytes.
        unsafe {
            _mm256_store_ps(p, v[0]);
            _mm256_store_ps(p.add(8), v[1]);
        }
    }

    #[inline(always)]
    fn decode(self, codes: &Codes) -> Self::Vector {
        let p = codes.as_ptr().cast::<__m128i>();
        // SAFETY: `self` proves AVX2; `codes` is 32 bytes, and the loads need no alignment.
        unsafe {
            let (low, high) = (_mm_loadu_si128(p), _mm_loadu_si128(p.add(1)));
            [
                _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(low)),
                _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(high)),
            ]
        }
    }

    #[inline(always)]
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
        // SAFETY: `self` proves that the processor has AVX2 and FMA.
        unsafe {
            [
                _mm256_fmadd_ps(a[0], b[0], c[0]),
                _mm256_fmadd_ps(a[1], b[1], c[1]),
            ]
        }
    }
}

/// AVX-512: one register, and 32 of them.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx512(());

#[cfg(target_arch = "x86_64")]
impl Simd for Avx512 {
    type Vector = __m512;

    const WIDE: bool = true;

    #[inline(always)]
    fn run<R>(self, work: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "avx2,fma,avx512f")]
        fn run<R>(work: impl FnOnce() -> R) -> R {
            work()
        }
        // SAFETY: `self` proves that the processor has AVX2, FMA and AVX-512.
        unsafe { run(work) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::Vector {
        // SAFETY: `self` proves that the processor has AVX-512.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    fn load(self, from: &Lanes) -> Self::Vector {
        // SAFETY: `self` proves AVX-512; `from` is 16 floats, aligned to 64 bytes.
        unsafe { _mm512_load_ps(from.0.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, v: Self::Vector, to: &mut Lanes) {
        // SAFETY: `self` proves AVX-512; `to` is 16 floats, aligned to 64 bytes.
        unsafe { _mm512_store_ps(to.0.as_mut_ptr(), v) }
    }

    #[inline(always)]
    fn decode(self, codes: &Codes) -> Self::Vector {
        let p = codes.as_ptr().cast::<__m256i>();
        // SAFETY: `self` proves AVX-512; `codes` is 32 bytes, and the load needs no alignment.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(_mm256_loadu_si256(p))) }
    }

    #[inline(always)]
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
        // SAFETY: `self` proves that the processor has AVX-512.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
}

/// NEON, which every aarch64 processor has: four registers.
#[cfg(target_arch = "aarch64")]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Neon(());

// NEON is always on, so that a compiler may find most of these intrinsics safe.
#[cfg(target_arch = "aarch64")]
#[allow(unused_unsafe, reason = "needed by older compilers")]
impl Simd for Neon {
    type Vector = [float32x4_t; 4];

    const WIDE: bool = false;

    #[inline(always)]
    fn run<R>(self, work: impl FnOnce() -> R) -> R {
        work()
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::Vector {
        // SAFETY: NEON is part of the aarch64 target.
        unsafe { [vdupq_n_f32(x); 4] }
    }

    #[inline(always)]
    fn load(self, from: &Lanes) -> Self::Vector {
        let p = from.0.as_ptr();
        // SAFETY: NEON is part of the aarch64 target; `from` is 16 floats.
        std::array::from_fn(|i| unsafe { vld1q_f32(p.add(4 * i)) })
    }

    #[inline(always)]
    fn store(self, v: Self::Vector, to: &mut Lanes) {
        let p = to.0.as_mut_ptr();
        for (i, v) in v.into_iter().enumerate() {
            // SAFETY: NEON is part of the aarch64 target; `to` is 16 floats.
            unsafe { vst1q_f32(p.add(4 * i), v) }
        }
    }

    #[inline(always)]
    fn decode(self, codes: &Codes) -> Self::Vector {
        let p = codes.as_ptr();
        std::array::from_fn(|i| {
            // SAFETY: NEON is part of the aarch64 target; `codes` is 32 bytes, eight of which are
            // read from the 8 * i-th on; bytes need no alignment.
            unsafe {
                let four = vreinterpret_s16_u8(vld1_u8(p.add(8 * i)));
                vcvtq_f32_s32(vmovl_s16(four))
            }
        })
    }

    #[inline(always)]
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
        // SAFETY: NEON is part of the aarch64 target.
        std::array::from_fn(|i| unsafe { vfmaq_f32(c[i], a[i], b[i]) })
    }
}
