//! What an API server, its controllers and a kubelet do: the same for the fixture and for a real cluster.

mod apply;
mod objects;
mod pods;
mod rolling;
mod watches;
mod workloads;
