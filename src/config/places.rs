//! Where each value of router.yaml stands, by its path of keys: for what is found wrong after the tree
//! has become a model.

use std::collections::HashMap;

use crate::yaml::{Kind, Node, Place, field};

/// Places by path, such as `landscapes[0].id`.
#[derive(Debug, Default)]
pub(super) struct Places {
    values: HashMap<String, Place>,
    keys: HashMap<String, Place>,
}

impl Places {
    pub(super) fn of(root: &Node) -> Self {
        let mut places = Self::default();
        places.add(root, String::new());
        places
    }

    /// Where the value stands, or the nearest value around it.
    pub(super) fn value(&self, path: &str) -> Place {
        nearest(&self.values, path)
    }

    /// Where the key stands, or the nearest value around it.
    pub(super) fn key(&self, path: &str) -> Place {
        self.keys.get(path).copied().unwrap_or_else(|| self.value(path))
    }

    fn add(&mut self, node: &Node, path: String) {
        match &node.kind {
            Kind::Scalar(_) => {}
            Kind::Sequence(items) => {
                for (i, item) in items.iter().enumerate() {
                    self.add(item, field::index(&path, i));
                }
            }
            Kind::Mapping(mapping) => {
                for entry in &mapping.entries {
                    let path = field::key(&path, &entry.key);
                    self.keys.insert(path.clone(), entry.place);
                    self.add(&entry.value, path);
                }
            }
        }
        self.values.insert(path, node.place);
    }
}

fn nearest(map: &HashMap<String, Place>, path: &str) -> Place {
    let mut path = path;
    loop {
        if let Some(place) = map.get(path) {
            return *place;
        }
        match path.rfind(['.', '[']) {
            Some(at) => path = &path[..at],
            None => return map.get("").copied().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::{Severity, parse};
    use std::sync::Arc;

    #[test]
    fn a_path_leads_to_its_place_or_to_what_is_around_it() {
        let text = b"a:\n  - b: 1\n  - {c: 2}\n\"x.y\": 3\n";
        let (root, _) = parse(Arc::new("f".into()), text, Severity::Error);
        let places = Places::of(&root.unwrap());
        assert_eq!(places.value("a[0].b"), Place { line: 2, column: 8 });
        assert_eq!(places.key("a[1].c"), Place { line: 3, column: 6 });
        assert_eq!(places.value("a[1].missing.deeper"), Place { line: 3, column: 5 });
        assert_eq!(places.value("[\"x.y\"]"), Place { line: 4, column: 8 });
        assert_eq!(places.value("nothing"), Place { line: 1, column: 1 });
    }
}
