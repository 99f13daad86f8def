//! `AttributeKind`, what an attribute of an ARFF file holds.

/// The kind of an attribute's values.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum AttributeKind {
    Numeric,
    /// One of these names.
    Nominal(Vec<String>),
    /// A text or a date, which is no value of a sequence.
    Text,
    /// A sequence.
    Relational,
}
