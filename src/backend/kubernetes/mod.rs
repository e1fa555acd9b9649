//! Services as workloads of a Kubernetes cluster.
//!
//! | file | concept |
//! |---|---|
//! | `names` | what objects are called, and what marks them as ours |
//! | `manifest` | a specification as objects; without IO |
//! | `connect`, `callers` | the way to a cluster, and what our own traffic looks like there |
//! | `plan` | what would change, without changing it |

pub mod callers;
pub mod connect;
pub mod manifest;
pub mod names;
pub mod plan;
