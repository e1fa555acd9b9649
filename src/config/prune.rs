//! Takes what the structural checks refused out of a tree, so that the rest can be judged in the same go.

use std::collections::HashSet;

use crate::yaml::{Kind, Node, field};

/// The tree without the entries at `bad` paths. Where a list's item is bad, the whole list goes: leaving
/// the item out would shift the paths of those behind it.
pub(super) fn prune(root: &mut Node, bad: &HashSet<String>) {
    entries(root, "", bad);
}

/// Whether the node itself has to go.
fn entries(node: &mut Node, path: &str, bad: &HashSet<String>) -> bool {
    match &mut node.kind {
        Kind::Scalar(_) => bad.contains(path),
        Kind::Sequence(items) => {
            let mut gone = bad.contains(path);
            for (i, item) in items.iter_mut().enumerate() {
                gone |= entries(item, &field::index(path, i), bad);
            }
            gone
        }
        Kind::Mapping(mapping) => {
            mapping.entries.retain_mut(|e| !entries(&mut e.value, &field::key(path, &e.key), bad));
            bad.contains(path)
        }
    }
}

/// Whether two paths are about the same part of the file: the same top-level key, the same landscape.
pub(super) fn same_part(one: &str, other: &str) -> bool {
    part(one) == part(other)
}

fn part(path: &str) -> &str {
    let end = path.find('.').unwrap_or(path.len());
    // `domains["a.b"]` and `listen.http` are parts of `domains` and `listen`, `landscapes[3].id` is one by itself.
    match path[..end].find("[\"") {
        Some(bracket) => &path[..bracket],
        None => &path[..end],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::{Severity, parse};
    use std::sync::Arc;

    #[test]
    fn bad_entries_go_and_lists_with_a_bad_item() {
        let (root, _) =
            parse(Arc::new("f".into()), b"a: 1\nb: {c: 1, d: 2}\ne: [1, 2]\nf: [{g: 1, h: 2}]\n", Severity::Error);
        let mut root = root.unwrap();
        prune(&mut root, &["a", "b.c", "e[1]", "f[0].g"].map(String::from).into());
        let mapping = root.as_mapping().unwrap();
        let keys: Vec<_> = mapping.entries.iter().map(|e| e.key.as_str()).collect();
        assert_eq!(keys, ["b", "f"]);
        assert!(mapping.get("b").unwrap().as_mapping().unwrap().get("c").is_none());
    }

    #[test]
    fn parts_are_top_level_keys_and_landscapes() {
        assert!(same_part("listen.http[0]", "listen"));
        assert!(same_part("domains[\"a.b\"]", "domains.x"));
        assert!(same_part("landscapes[1].id", "landscapes[1].env.A"));
        assert!(!same_part("landscapes[1].id", "landscapes[2].id"));
    }
}
