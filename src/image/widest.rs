//! The widest vectors that the processor has, chosen when the program runs.
//!
//! The program is built for the least processor of its kind. Inside [`run`] the same code, which
//! the compiler makes twice, uses twice as wide vectors where there are any. It is arithmetic on
//! integers, so the results are the same to the bit. Only what is inlined into `work` gains: its
//! functions are `#[inline(always)]`.

#![allow(unsafe_code)] // To call what was compiled for a processor that is there.

/// Does `work`, compiled for the processor at hand.
pub(super) fn run<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, as was asked just now.
        return unsafe { with_avx2(work) };
    }
    work()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2<R>(work: impl FnOnce() -> R) -> R {
    work()
}
