//! Services as workloads of a Kubernetes cluster.
//!
//! | file | concept |
//! |---|---|
//! | `connect` | a client of the cluster |
//! | `names` | what objects are called, and what marks them as ours |
//! | `manifest` | a specification as objects; without IO |
//! | `private` | the names by which services find each other |

pub mod connect;
pub mod manifest;
pub mod names;
pub mod private;
