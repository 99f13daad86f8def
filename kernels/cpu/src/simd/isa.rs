//! The instruction set, chosen once at run time.

use std::sync::OnceLock;

/// An instruction set that this CPU has: values exist only after detection said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    #[cfg(target_arch = "x86_64")]
    /// AVX-512 F and DQ.
    Avx512(Avx512),
    #[cfg(target_arch = "x86_64")]
    /// AVX2 and FMA.
    Avx2Fma(Avx2Fma),
    #[cfg(target_arch = "aarch64")]
    /// NEON.
    Neon,
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    /// WebAssembly's fixed-width SIMD.
    Simd128,
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    /// Arrays, for any CPU.
    Portable,
}

/// Proof that this CPU has AVX-512 F and DQ: only [`Avx512::detect`] makes one.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx512(());

#[cfg(target_arch = "x86_64")]
impl Avx512 {
    fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq");
        found.then_some(Self(()))
    }
}

/// Proof that this CPU has AVX2 and FMA: only [`Avx2Fma::detect`] makes one.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx2Fma(());

#[cfg(target_arch = "x86_64")]
impl Avx2Fma {
    fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        found.then_some(Self(()))
    }
}

/// The variable that forces an instruction set.
const VARIABLE: &str = "CANDLE_RNN_ISA";

impl Isa {
    /// All that this CPU has, the best first.
    pub fn available() -> Vec<Self> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            found.extend(Avx512::detect().map(Self::Avx512));
            found.extend(Avx2Fma::detect().map(Self::Avx2Fma));
        }
        #[cfg(target_arch = "aarch64")]
        found.push(Self::Neon);
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        found.push(Self::Simd128);
        #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
        found.push(Self::Portable);
        found
    }

    /// The name that `CANDLE_RNN_ISA` knows it by.
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2Fma(_) => "avx2",
            #[cfg(target_arch = "aarch64")]
            Self::Neon => "neon",
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Self::Simd128 => "simd128",
            #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
            Self::Portable => "portable",
        }
    }

    /// The one to use: the best, or the one that `CANDLE_RNN_ISA` names. Read once.
    ///
    /// # Errors
    /// A message when the variable names none that this CPU has.
    pub fn chosen() -> Result<Self, &'static str> {
        static CHOSEN: OnceLock<Result<Isa, String>> = OnceLock::new();
        CHOSEN
            .get_or_init(|| Self::choose(std::env::var(VARIABLE).ok()))
            .as_ref()
            .copied()
            .map_err(String::as_str)
    }

    fn choose(wanted: Option<String>) -> Result<Self, String> {
        let available = Self::available();
        let Some(wanted) = wanted.filter(|name| !name.is_empty()) else {
            return Ok(available[0]);
        };
        available.iter().copied().find(|isa| isa.name() == wanted).ok_or_else(|| {
            let names: Vec<&str> = available.iter().map(|isa| isa.name()).collect();
            format!("{VARIABLE} is {wanted:?}, but this CPU has {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_forces_an_instruction_set_that_the_cpu_has() {
        for isa in Isa::available() {
            assert_eq!(Isa::choose(Some(isa.name().into())), Ok(isa));
        }
        assert_eq!(Isa::choose(None), Ok(Isa::available()[0]));
        assert_eq!(Isa::choose(Some(String::new())), Ok(Isa::available()[0]));
    }

    #[test]
    fn a_missing_instruction_set_is_an_error_that_lists_the_others() {
        let error = Isa::choose(Some("avx1024".into())).unwrap_err();
        assert!(error.contains("avx1024") && error.contains("portable"), "{error}");
    }
}
