//! An object of a JSON lines file.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use crate::data::Names;

/// The content of an object.
#[derive(Debug, Default)]
pub(super) struct Example {
    /// The most values that a sequence may have; 0 for any number.
    pub(super) most: usize,
    /// Step by step.
    pub(super) values: Vec<f32>,
    pub(super) steps: usize,
    /// The features of a step; `None` where steps are numbers.
    pub(super) width: Option<usize>,
    pub(super) y: Option<JsonLabel>,
    pub(super) id: Option<String>,
    pub(super) group: Option<String>,
    /// The names of fields that are not read, of all objects: no more of them than [`MOST_OTHERS`](Self::MOST_OTHERS).
    pub(super) others: BTreeSet<String>,
}

impl Example {
    /// How many fields that are not read are named.
    pub(super) const MOST_OTHERS: usize = 12;

    pub(super) fn clear(&mut self) {
        self.values.clear();
        (self.steps, self.width) = (0, None);
        (self.y, self.id, self.group) = (None, None, None);
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        &mut self,
        deserializer: D,
    ) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_map(ExampleVisitor(self))
    }
}

struct ExampleVisitor<'a>(&'a mut Example);

impl<'de> Visitor<'de> for ExampleVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object such as {\"x\": [1, 2, 3], \"y\": \"up\"}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        let mut has_x = false;
        while let Some(key) = map.next_key::<String>()? {
            match &key[..] {
                "x" | "sequence" => {
                    if std::mem::replace(&mut has_x, true) {
                        return Err(A::Error::custom("the object has two sequences"));
                    }
                    map.next_value_seed(StepsSeed(self.0))?;
                }
                "y" | "label" | "target" => {
                    if self.0.y.is_some() {
                        let reason =
                            "the object has two targets: y, label and target name the same";
                        return Err(A::Error::custom(reason));
                    }
                    self.0.y = Some(map.next_value_seed(LabelSeed)?);
                }
                "id" => self.0.id = map.next_value_seed(LabelSeed)?.name(),
                "group" => self.0.group = map.next_value_seed(LabelSeed)?.name(),
                _ => {
                    let others = &mut self.0.others;
                    if others.len() < Example::MOST_OTHERS && !others.contains(&key) {
                        others.insert(key);
                    }
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if has_x {
            return Ok(());
        }
        Err(A::Error::custom("expected a field x (or sequence) with the steps"))
    }
}

/// A list of steps.
struct StepsSeed<'a>(&'a mut Example);

impl<'de> DeserializeSeed<'de> for StepsSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> std::result::Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for StepsSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of steps")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<(), A::Error> {
        while let Some(width) = list.next_element_seed(ElementSeed(&mut self.0.values))? {
            if self.0.most > 0 && self.0.values.len() > self.0.most {
                return Err(A::Error::custom(
                    "the sequence is too long for the memory that is available: cut it into parts",
                ));
            }
            if self.0.steps > 0 && width != self.0.width {
                let say = |width: Option<usize>| {
                    width.map_or("a number".to_string(), |width| {
                        format!("a list of {width} numbers")
                    })
                };
                let (step, now, first) = (self.0.steps + 1, say(width), say(self.0.width));
                return Err(A::Error::custom(format!("step {step} is {now}, step 1 is {first}")));
            }
            self.0.width = width;
            self.0.steps += 1;
        }
        Ok(())
    }
}

/// A step, a number or a list of them; how many if it is a list.
struct ElementSeed<'a>(&'a mut Vec<f32>);

impl<'de> DeserializeSeed<'de> for ElementSeed<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(
        self,
        from: D,
    ) -> std::result::Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ElementSeed<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, null, or a list of numbers")
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> std::result::Result<Self::Value, E> {
        let value = value as f32;
        if !value.is_finite() {
            return Err(E::custom("expected a finite number of 32 bits"));
        }
        self.0.push(value);
        Ok(None)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> std::result::Result<Self::Value, E> {
        self.visit_f64(value as f64)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> std::result::Result<Self::Value, E> {
        self.visit_f64(value as f64)
    }

    fn visit_unit<E: serde::de::Error>(self) -> std::result::Result<Self::Value, E> {
        self.0.push(f32::NAN);
        Ok(None)
    }

    /// An empty text stands for NaN.
    fn visit_str<E: serde::de::Error>(self, text: &str) -> std::result::Result<Self::Value, E> {
        if !text.is_empty() {
            return Err(E::invalid_type(serde::de::Unexpected::Str(text), &self));
        }
        self.visit_unit()
    }

    fn visit_seq<A: SeqAccess<'de>>(
        self,
        mut list: A,
    ) -> std::result::Result<Self::Value, A::Error> {
        let mut width = 0;
        while let Some(element) = list.next_element_seed(ElementSeed(self.0))? {
            if element.is_some() {
                return Err(A::Error::custom("expected a number in a step, got a list"));
            }
            width += 1;
        }
        Ok(Some(width))
    }
}

/// The value of `y`: numbers are kept as they are written in Rust.
#[derive(Debug, PartialEq)]
pub(super) enum JsonLabel {
    Missing,
    Name(String),
    Number(f64),
    /// Names, and of which types they are.
    List(Names, JsonTypes),
}

/// The types of labels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct JsonTypes {
    pub(super) numbers: bool,
    pub(super) texts: bool,
}

impl JsonTypes {
    /// Whether all labels are numbers.
    pub(super) fn are_numbers(self) -> bool {
        !self.texts
    }

    /// Whether there are both.
    pub(super) fn are_mixed(self) -> bool {
        self.numbers && self.texts
    }

    /// Those of other labels beside these.
    pub(super) fn and(self, others: Self) -> Self {
        Self { numbers: self.numbers || others.numbers, texts: self.texts || others.texts }
    }
}

impl JsonLabel {
    /// The types of the label, or of the list's labels.
    pub(super) fn types(&self) -> JsonTypes {
        match self {
            Self::Missing => JsonTypes::default(),
            Self::Name(_) => JsonTypes { texts: true, ..JsonTypes::default() },
            Self::Number(_) => JsonTypes { numbers: true, ..JsonTypes::default() },
            Self::List(_, types) => *types,
        }
    }

    /// The text of what is neither missing nor a list.
    pub(super) fn name(self) -> Option<String> {
        match self {
            Self::Name(name) => Some(name),
            Self::Number(value) => Some(value.to_string()),
            Self::Missing | Self::List(..) => None,
        }
    }
}

struct LabelSeed;

impl<'de> DeserializeSeed<'de> for LabelSeed {
    type Value = JsonLabel;

    fn deserialize<D: Deserializer<'de>>(
        self,
        from: D,
    ) -> std::result::Result<JsonLabel, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for LabelSeed {
    type Value = JsonLabel;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number, or a list of them")
    }

    fn visit_bool<E>(self, value: bool) -> std::result::Result<JsonLabel, E> {
        Ok(JsonLabel::Name(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> std::result::Result<JsonLabel, E> {
        Ok(JsonLabel::Number(value as f64))
    }

    fn visit_i64<E>(self, value: i64) -> std::result::Result<JsonLabel, E> {
        Ok(JsonLabel::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> std::result::Result<JsonLabel, E> {
        Ok(JsonLabel::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> std::result::Result<JsonLabel, E> {
        Ok(JsonLabel::Name(value.into()))
    }

    fn visit_unit<E>(self) -> std::result::Result<JsonLabel, E> {
        Ok(JsonLabel::Missing)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<JsonLabel, A::Error> {
        let (mut names, mut types) = (Names::default(), JsonTypes::default());
        while let Some(element) = list.next_element_seed(LabelSeed)? {
            types = types.and(element.types());
            let name = element.name();
            let missing = || A::Error::custom("expected labels, got null or a list");
            names.push(&name.ok_or_else(missing)?);
        }
        Ok(JsonLabel::List(names, types))
    }
}
