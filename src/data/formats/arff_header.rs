//! The attributes that an ARFF file declares.

use std::io::BufRead;

use super::arff_attribute::AttributeKind;
use super::arff_row::ArffRow;
use super::lines::Lines;
use super::text_numbers::quote;
use crate::data::TargetKind;
use crate::Result;

/// All attributes: their names and kinds.
#[derive(Debug)]
pub(super) struct ArffHeader {
    pub(super) attributes: Vec<(String, AttributeKind)>,
}

impl ArffHeader {
    /// Reads everything up to `@data`.
    ///
    /// # Errors
    /// [`DataFile`](crate::Error::DataFile) with the line.
    pub(super) fn read<R: BufRead>(lines: &mut Lines<R>) -> Result<Self> {
        let mut attributes: Vec<(String, AttributeKind)> = Vec::new();
        // The relational attribute whose own attributes are being declared.
        let mut within = false;
        while lines.next()? {
            let text = lines.text()?;
            let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
            match &word.to_ascii_lowercase()[..] {
                "@attribute" => {
                    let (name, kind) = attribute(rest.trim()).map_err(|reason| lines.at(reason))?;
                    if within {
                        if kind != AttributeKind::Numeric {
                            let name = quote(&name);
                            let reason = format!(
                                "the relational attribute's own attribute {name} must be numeric"
                            );
                            return Err(lines.at(reason));
                        }
                        continue;
                    }
                    within = kind == AttributeKind::Relational;
                    attributes.push((name, kind));
                }
                "@end" => within = false,
                "@data" => return Self::check(attributes).map_err(|reason| lines.fail(reason)),
                "@relation" | "" => {}
                word if word.starts_with('%') => {}
                _ => {
                    let text = quote(text);
                    return Err(lines.at(format!("expected @attribute or @data, got {text}")));
                }
            }
        }
        Err(lines.fail("ends before its line @data"))
    }

    fn check(attributes: Vec<(String, AttributeKind)>) -> std::result::Result<Self, String> {
        let header = Self { attributes };
        let count = |kind| header.attributes.iter().filter(|(_, found)| *found == kind).count();
        match (count(AttributeKind::Relational), count(AttributeKind::Numeric)) {
            (0, 0) => Err("has no numeric attribute".into()),
            (0, _) | (1, 0 | 1) => Ok(header),
            (1, _) => Err("has several numeric attributes beside a relational one".into()),
            _ => {
                Err("has several relational attributes, which are not supported: one attribute is a sequence with \
                     all its features"
                    .into())
            }
        }
    }

    /// The place of the relational attribute.
    pub(super) fn relational(&self) -> Option<usize> {
        self.attributes.iter().position(|(_, kind)| *kind == AttributeKind::Relational)
    }

    /// The names of the attributes that are not read: texts and dates, and all beside a relational one and the label.
    pub(super) fn left_out(&self, label: Option<usize>) -> impl Iterator<Item = &str> {
        let relational = self.relational();
        let is_left_out = move |(place, (_, kind)): &(usize, &(String, AttributeKind))| {
            let is_read = Some(*place) == label || Some(*place) == relational;
            !is_read && (relational.is_some() || *kind == AttributeKind::Text)
        };
        self.attributes.iter().enumerate().filter(is_left_out).map(|(_, (name, _))| &name[..])
    }

    /// The place of the label.
    pub(super) fn label(&self, kind: Option<TargetKind>) -> Option<usize> {
        let is_nominal = |(_, kind): &(_, _)| matches!(kind, AttributeKind::Nominal(_));
        let nominal = self.attributes.iter().rposition(is_nominal);
        let last = self.attributes.len() - 1;
        let (name, last_kind) = &self.attributes[last];
        let named = ["target", "class", "label", "y"].iter().any(|n| name.eq_ignore_ascii_case(n));
        let numeric = *last_kind == AttributeKind::Numeric
            && (self.relational().is_some() || named || kind == Some(TargetKind::Numbers));
        nominal.or(numeric.then_some(last))
    }
}

/// A name, in quotes if it has blanks, and a kind.
fn attribute(text: &str) -> std::result::Result<(String, AttributeKind), String> {
    let quoted = text.chars().next().filter(|first| matches!(first, '\'' | '"'));
    let split = match quoted {
        Some(quote) => text[1..].split_once(quote),
        None => text
            .split_once(|c: char| c.is_whitespace() || c == '{')
            .map(|(name, _)| (name, &text[name.len()..])),
    };
    let Some((name, kind)) = split.filter(|(name, _)| !name.is_empty()) else {
        return Err(format!("expected a name and a type, got {}", quote(text)));
    };
    let kind = kind.trim();
    if let Some(names) = kind.strip_prefix('{') {
        let names = names.trim_end().strip_suffix('}');
        let names =
            names.ok_or_else(|| format!("attribute {} lacks a closing brace", quote(name)))?;
        let mut classes = ArffRow::default();
        classes
            .split(names.as_bytes(), usize::MAX)
            .map_err(|reason| format!("attribute {}: {reason}", quote(name)))?;
        let class = |place| String::from_utf8_lossy(classes.cell(place)).into_owned();
        return Ok((name.into(), AttributeKind::Nominal((0..classes.len()).map(class).collect())));
    }
    let word = kind.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
    let kind = match &word[..] {
        "numeric" | "real" | "integer" => AttributeKind::Numeric,
        "string" | "date" => AttributeKind::Text,
        "relational" => AttributeKind::Relational,
        _ => {
            let (name, kind) = (quote(name), quote(kind));
            return Err(format!(
                "attribute {name} must be numeric, nominal or relational, got {kind}"
            ));
        }
    };
    Ok((name.into(), kind))
}
