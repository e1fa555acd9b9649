//! Any bytes as YAML: a tree or mistakes, bounded in size and depth, with places inside the file.

use std::path::PathBuf;
use std::sync::Arc;

use landscape_router::yaml::{Kind, MAX_DEPTH, MAX_NODES, Node, Severity, parse};

/// See the module's words.
pub fn run(data: &[u8]) {
    for duplicates in [Severity::Warning, Severity::Error] {
        let (node, mistakes) = parse(Arc::new(PathBuf::from("any.yml")), data, duplicates);
        assert!(node.is_some() || !mistakes.is_empty(), "neither a tree nor a mistake");
        for mistake in &mistakes {
            super::landscape::check(mistake);
        }
        if let Some(node) = &node {
            let lines = String::from_utf8_lossy(data).chars().filter(|c| matches!(c, '\n' | '\r')).count() as u32 + 1;
            let mut seen = 0;
            walk(node, 1, lines, &mut seen);
            assert!(seen <= MAX_NODES, "{seen} nodes");
        }
    }
}

fn walk(node: &Node, depth: usize, lines: u32, seen: &mut usize) {
    *seen += 1;
    assert!(depth <= MAX_DEPTH + 1, "{depth} levels");
    assert!(node.place.line <= lines + 1, "line {} of {lines}", node.place.line);
    match &node.kind {
        Kind::Scalar(_) => {}
        Kind::Sequence(items) => items.iter().for_each(|item| walk(item, depth + 1, lines, seen)),
        Kind::Mapping(mapping) => mapping.entries.iter().for_each(|entry| walk(&entry.value, depth + 1, lines, seen)),
    }
}
