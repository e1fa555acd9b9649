//! The longest prefix of whole segments.

/// Path prefixes with a value each. A lookup visits at most as many nodes as the longest prefix has
/// segments, whatever the path's length; each step is a binary search among one node's children.
#[derive(Debug, Clone)]
pub struct PrefixTree<V> {
    /// The root, of prefix `/`, is the first.
    nodes: Vec<Node<V>>,
}

#[derive(Debug, Clone)]
struct Node<V> {
    value: Option<V>,
    /// By segment, sorted.
    children: Vec<(Box<str>, usize)>,
}

impl<V> Node<V> {
    const EMPTY: Self = Self { value: None, children: Vec::new() };

    fn child(&self, segment: &str) -> Result<usize, usize> {
        self.children.binary_search_by(|(name, _)| (**name).cmp(segment))
    }
}

impl<V> Default for PrefixTree<V> {
    fn default() -> Self {
        Self { nodes: vec![Node::EMPTY] }
    }
}

/// The segments of a path, its query left out; none for `/`.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let rest = path.strip_prefix('/').filter(|rest| !rest.is_empty());
    rest.into_iter().flat_map(|rest| rest.split('/'))
}

/// A prefix without its trailing slashes, `/` for the root.
pub(super) fn trimmed(prefix: &str) -> &str {
    let cut = prefix.trim_end_matches('/');
    if cut.is_empty() { "/" } else { cut }
}

impl<V> PrefixTree<V> {
    /// Adds a prefix; a trailing slash makes no difference. Gives the value back together with the one
    /// that stands there already.
    pub fn insert(&mut self, prefix: &str, value: V) -> Result<(), (V, &V)> {
        let mut at = 0;
        for segment in segments(trimmed(prefix)) {
            at = match self.nodes[at].child(segment) {
                Ok(i) => self.nodes[at].children[i].1,
                Err(i) => {
                    let new = self.nodes.len();
                    self.nodes.push(Node::EMPTY);
                    self.nodes[at].children.insert(i, (segment.into(), new));
                    new
                }
            };
        }
        let slot = &mut self.nodes[at].value;
        match slot {
            Some(present) => Err((value, present)),
            None => {
                *slot = Some(value);
                Ok(())
            }
        }
    }

    /// The value of the longest prefix that covers `path` (a query after it is not looked at).
    pub fn longest(&self, path: &str) -> Option<&V> {
        self.all(path).last()
    }

    /// Every value, in no order that means anything.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.nodes.iter().filter_map(|node| node.value.as_ref())
    }

    /// The values of every prefix that covers `path`, shortest first.
    pub fn all<'t>(&'t self, path: &str) -> impl Iterator<Item = &'t V> {
        let covered = path.is_empty() || path.starts_with('/');
        let mut at = covered.then(|| &self.nodes[0]);
        let mut rest = segments(path);
        std::iter::from_fn(move || {
            let node = at?;
            at = rest.next().and_then(|s| node.child(s).ok()).map(|i| &self.nodes[node.children[i].1]);
            // An inner node without a value is passed over, not the end.
            Some(node.value.as_ref())
        })
        .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(prefixes: &[&'static str]) -> PrefixTree<&'static str> {
        let mut tree = PrefixTree::default();
        for p in prefixes {
            tree.insert(p, *p).unwrap();
        }
        tree
    }

    #[test]
    fn the_longest_prefix_of_whole_segments_wins() {
        let t = tree(&["/", "/foo", "/foo/bar", "/deep/er/still"]);
        for (path, expected) in [
            ("/", "/"),
            ("", "/"),
            ("/foo", "/foo"),
            ("/foo/", "/foo"),
            ("/foo?x=/foo/bar", "/foo"),
            ("/foobar", "/"),
            ("/foo/bar", "/foo/bar"),
            ("/foo/bar/", "/foo/bar"),
            ("/foo/barrel", "/foo"),
            ("/foo%2Fbar", "/"),
            ("/foo/b%61r", "/foo"),
            ("/FOO", "/"),
            ("/deep/er", "/"),
            ("/deep/er/still/more", "/deep/er/still"),
            ("//foo", "/"),
            ("/foo//bar", "/foo"),
        ] {
            assert_eq!(t.longest(path), Some(&expected), "{path}");
        }
    }

    #[test]
    fn without_a_root_some_paths_have_no_route() {
        let t = tree(&["/foo/bar/"]);
        assert_eq!(t.longest("/foo/bar"), Some(&"/foo/bar/"));
        assert_eq!(t.longest("/foo"), None);
        assert_eq!(t.longest("/"), None);
        assert_eq!(t.longest("*"), None);
        assert_eq!(t.longest("foo/bar"), None);
    }

    #[test]
    fn a_prefix_stands_once() {
        let mut t = tree(&["/foo"]);
        assert_eq!(t.insert("/foo/", "again"), Err(("again", &"/foo")));
        assert_eq!(t.insert("/foo//", "again"), Err(("again", &"/foo")));
        assert_eq!(t.longest("/foo"), Some(&"/foo"));
    }

    #[test]
    fn odd_characters_in_a_prefix_are_only_characters() {
        let t = tree(&["/_!='$&()*+,;:@/x"]);
        assert_eq!(t.longest("/_!='$&()*+,;:@/x/y?z"), Some(&"/_!='$&()*+,;:@/x"));
    }
}
