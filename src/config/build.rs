//! Builds the model from the tree with serde. The structural checks have been passed before, so that an
//! error here is rare; it still knows its place.

use serde::de::{self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, VariantAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::model::Router;
use crate::yaml::{Diagnostics, Entry, Kind, Node, Place, Value};

/// The model of a tree; what does not fit is told.
pub(super) fn build(root: &Node, diagnostics: &mut Diagnostics) -> Option<Router> {
    match de::Deserialize::deserialize(Reader(root)) {
        Ok(router) => Some(router),
        Err(Error { place, message }) => {
            diagnostics.error(place.unwrap_or(root.place), "", message);
            None
        }
    }
}

#[derive(Debug)]
struct Error {
    place: Option<Place>,
    message: String,
}

impl Error {
    fn at(mut self, place: Place) -> Self {
        self.place.get_or_insert(place);
        self
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self { place: None, message: message.to_string() }
    }
}

#[derive(Clone, Copy)]
struct Reader<'n>(&'n Node);

impl<'n> IntoDeserializer<'n, Error> for Reader<'n> {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

fn pair(entry: &Entry) -> (&str, Reader<'_>) {
    (&entry.key, Reader(&entry.value))
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let place = self.0.place;
        let out = match &self.0.kind {
            Kind::Scalar(s) => match s.value {
                Value::Null => visitor.visit_unit(),
                Value::Bool(b) => visitor.visit_bool(b),
                Value::Int(n) => visitor.visit_i64(n),
                Value::Float(n) => visitor.visit_f64(n),
                Value::String => visitor.visit_borrowed_str(&s.text),
            },
            Kind::Sequence(items) => {
                let mut access = de::value::SeqDeserializer::new(items.iter().map(Reader));
                visitor.visit_seq(&mut access)
            }
            Kind::Mapping(mapping) => {
                let mut access = de::value::MapDeserializer::new(mapping.entries.iter().map(pair));
                visitor.visit_map(&mut access)
            }
        };
        out.map_err(|e: Error| e.at(place))
    }

    /// Text is as it was written, whatever it looks like.
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.0.kind {
            Kind::Scalar(s) if s.value != Value::Null => {
                visitor.visit_borrowed_str(&s.text).map_err(|e: Error| e.at(self.0.place))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let place = self.0.place;
        let access = match &self.0.kind {
            Kind::Scalar(s) => Variant { name: &s.text, content: None },
            Kind::Mapping(m) => match m.entries.as_slice() {
                [only] => Variant { name: &only.key, content: Some(Reader(&only.value)) },
                _ => return Err(<Error as de::Error>::custom("expected a mapping of one key").at(place)),
            },
            Kind::Sequence(_) => return Err(<Error as de::Error>::custom("expected one of some words").at(place)),
        };
        visitor.visit_enum(access).map_err(|e| e.at(place))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

struct Variant<'n> {
    name: &'n str,
    content: Option<Reader<'n>>,
}

impl<'n> EnumAccess<'n> for Variant<'n> {
    type Error = Error;
    type Variant = Self;
    fn variant_seed<S: DeserializeSeed<'n>>(self, seed: S) -> Result<(S::Value, Self), Error> {
        seed.deserialize(self.name.into_deserializer()).map(|name| (name, self))
    }
}

impl<'n> VariantAccess<'n> for Variant<'n> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match self.content {
            None => Ok(()),
            Some(_) => Err(de::Error::custom(format!("`{}` takes no value", self.name))),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'n>>(self, seed: S) -> Result<S::Value, Error> {
        match self.content {
            Some(content) => seed.deserialize(content),
            None => Err(de::Error::custom(format!("`{}` needs a value", self.name))),
        }
    }

    fn tuple_variant<V: Visitor<'n>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.struct_variant(&[], visitor)
    }

    fn struct_variant<V: Visitor<'n>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        match self.content {
            Some(content) => content.deserialize_any(visitor),
            None => Err(de::Error::custom(format!("`{}` needs a value", self.name))),
        }
    }
}
