//! OTLP's messages as bytes, written in one pass: a span costs no memory of its own (Protocol Buffers, "Encoding";
//! `opentelemetry/proto/trace/v1/trace.proto` has the numbers of the fields).

use prost::encoding::{encode_varint, encoded_len_varint};

/// Wire types.
const VARINT: u8 = 0;
const FIXED_64: u8 = 1;
const LENGTH: u8 = 2;
const FIXED_32: u8 = 5;

/// The key of a field. All numbers here are below 16, where a key is one byte, but for `Span.flags`.
const fn key(field: u8, wire_type: u8) -> u8 {
    field << 3 | wire_type
}

/// The value of an attribute.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    Text(&'a str),
    Number(i64),
    Double(f64),
}

/// A message that is being written. Its own length stands before it, so it is written beside and then put in place.
#[derive(Debug, Default)]
pub(super) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }

    pub(super) fn bytes(&mut self, field: u8, value: &[u8]) {
        self.bytes.push(key(field, LENGTH));
        encode_varint(value.len() as u64, &mut self.bytes);
        self.bytes.extend_from_slice(value);
    }

    pub(super) fn text(&mut self, field: u8, value: &str) {
        self.bytes(field, value.as_bytes());
    }

    pub(super) fn number(&mut self, field: u8, value: u64) {
        self.bytes.push(key(field, VARINT));
        encode_varint(value, &mut self.bytes);
    }

    /// 0 is what readers take for a field that is absent.
    pub(super) fn fixed_64(&mut self, field: u8, value: u64) {
        if value != 0 {
            self.bits_64(field, value);
        }
    }

    fn bits_64(&mut self, field: u8, value: u64) {
        self.bytes.push(key(field, FIXED_64));
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// `Span.flags` is field 16: its key takes two bytes.
    pub(super) fn flags(&mut self, value: u32) {
        encode_varint(16 << 3 | u64::from(FIXED_32), &mut self.bytes);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// A `KeyValue` of the field: `key = 1`, `value = 2`, an `AnyValue` that is a string (1), an int (3) or a double (4).
    pub(super) fn attribute(&mut self, field: u8, name: &str, value: Value<'_>) {
        let held = match value {
            Value::Text(text) => length_of(text.len()),
            // A negative number is sent as the unsigned one with the same bits.
            Value::Number(number) => 1 + encoded_len_varint(number.cast_unsigned()),
            Value::Double(_) => 9,
        };
        self.bytes.push(key(field, LENGTH));
        encode_varint((length_of(name.len()) + length_of(held)) as u64, &mut self.bytes);
        self.text(1, name);
        self.bytes.push(key(2, LENGTH));
        encode_varint(held as u64, &mut self.bytes);
        match value {
            Value::Text(text) => self.text(1, text),
            Value::Number(number) => self.number(3, number.cast_unsigned()),
            // One of several: absent it would be no value at all.
            Value::Double(double) => self.bits_64(4, double.to_bits()),
        }
    }

    pub(super) fn message(&mut self, field: u8, message: &Self) {
        self.bytes(field, &message.bytes);
    }

    /// As a field of the message around it, at the end of that one's bytes.
    pub(super) fn put(&self, field: u8, around: &mut Vec<u8>) {
        around.push(key(field, LENGTH));
        encode_varint(self.bytes.len() as u64, around);
        around.extend_from_slice(&self.bytes);
    }

    /// The fields of a message of another maker.
    pub(super) fn append(&mut self, message: &impl prost::Message) {
        message.encode_raw(&mut self.bytes);
    }

    #[cfg(test)]
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes
    }
}

/// What a field of so many bytes takes, with its key and its length.
const fn length_of(bytes: usize) -> usize {
    1 + encoded_len_varint(bytes as u64) + bytes
}

/// A message whose beginning is `head` and whose end are `rest`, which is long: as one field of the message around it.
pub(super) fn around(field: u8, head: &[u8], rest: &[u8]) -> Vec<u8> {
    let length = head.len() + rest.len();
    let mut whole = Vec::with_capacity(length + 12);
    whole.push(key(field, LENGTH));
    encode_varint(length as u64, &mut whole);
    whole.extend_from_slice(head);
    whole.extend_from_slice(rest);
    whole
}
