//! Services as workloads of a Kubernetes cluster.
//!
//! | file | concept |
//! |---|---|
//! | `names` | what objects are called, and what marks them as ours |
//! | `manifest` | a specification as objects; without IO |

pub mod manifest;
pub mod names;
