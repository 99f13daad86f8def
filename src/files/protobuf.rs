//! `Message`: protocol buffers, written field by field.

/// A protocol buffers message under construction. Fields stand in the order in which they are added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message(Vec<u8>);

/// How the value of a field is written.
#[derive(Clone, Copy)]
enum WireType {
    Varint = 0,
    #[cfg(any(test, feature = "report"))]
    Fixed64 = 1,
    Bytes = 2,
    #[cfg(any(test, feature = "report"))]
    Fixed32 = 5,
}

impl Message {
    /// Adds a field that holds a whole number; a repeated field is added number by number.
    pub(crate) fn int(&mut self, field: u32, value: i64) {
        self.tag(field, WireType::Varint);
        // Two's complement: a negative number takes ten bytes.
        self.varint(value as u64);
    }

    /// Adds a field that holds a 32-bit float.
    #[cfg(any(test, feature = "report"))]
    pub(crate) fn float(&mut self, field: u32, value: f32) {
        self.tag(field, WireType::Fixed32);
        self.0.extend(value.to_le_bytes());
    }

    /// Adds a field that holds a 64-bit float.
    #[cfg(any(test, feature = "report"))]
    pub(crate) fn double(&mut self, field: u32, value: f64) {
        self.tag(field, WireType::Fixed64);
        self.0.extend(value.to_le_bytes());
    }

    /// Adds a field that holds bytes.
    pub(crate) fn bytes(&mut self, field: u32, value: &[u8]) {
        self.tag(field, WireType::Bytes);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    /// Adds a field that holds a text.
    pub(crate) fn text(&mut self, field: u32, value: &str) {
        self.bytes(field, value.as_bytes());
    }

    /// Adds a field that holds a message.
    pub(crate) fn message(&mut self, field: u32, value: &Self) {
        self.bytes(field, &value.0);
    }

    /// The bytes of the message.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn tag(&mut self, field: u32, wire_type: WireType) {
        self.varint(u64::from(field) << 3 | wire_type as u64);
    }

    /// Seven bits a byte, the lowest first; all bytes but the last have the highest bit.
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Message)) -> Vec<u8> {
        let mut message = Message::default();
        write(&mut message);
        message.into_bytes()
    }

    #[test]
    fn numbers_are_those_of_the_specification() {
        // The examples of the encoding guide: 1, 150 and -2; and field 20, whose tag takes two bytes.
        assert_eq!(written(|m| m.int(1, 1)), [0x08, 0x01]);
        assert_eq!(written(|m| m.int(1, 150)), [0x08, 0x96, 0x01]);
        let negative = [0x08, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(written(|m| m.int(1, -2)), negative);
        assert_eq!(written(|m| m.int(20, 7)), [0xa0, 0x01, 0x07]);
        assert_eq!(written(|m| m.float(2, 1.)), [0x15, 0x00, 0x00, 0x80, 0x3f]);
        assert_eq!(written(|m| m.double(1, 1.)), [0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f]);
    }

    #[test]
    fn texts_and_messages_have_their_length_before_them() {
        let text = [0x12, 0x07, 0x74, 0x65, 0x73, 0x74, 0x69, 0x6e, 0x67];
        assert_eq!(written(|m| m.text(2, "testing")), text);
        let mut inner = Message::default();
        inner.int(1, 150);
        assert_eq!(written(|m| m.message(3, &inner)), [0x1a, 0x03, 0x08, 0x96, 0x01]);
        let long = written(|m| m.bytes(1, &[7; 300]));
        assert_eq!((&long[..3], long.len()), (&[0x0a, 0xac, 0x02][..], 303));
        assert_eq!(written(|m| m.message(1, &Message::default())), [0x0a, 0x00]);
    }
}
