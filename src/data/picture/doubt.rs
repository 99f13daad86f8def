//! Pictures that may not hold one digit.

use std::fmt;

/// Why a picture may not hold one digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Doubt {
    /// There are several shapes of the size of a digit; the pixels hold the largest.
    Several,
    /// No shape stands out from its background: a photograph, a pattern, noise.
    Clutter,
    /// There is one shape, and it has no strokes or is far wider than tall.
    Shape,
}

impl Doubt {
    /// The doubt in a sentence.
    pub fn text(self) -> &'static str {
        match self {
            Self::Several => "the picture shows several shapes, and the largest was read",
            Self::Clutter => {
                "no shape stands out from the background, as in a photograph, a pattern or noise"
            }
            Self::Shape => "the shape in the picture does not look like a digit",
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}
