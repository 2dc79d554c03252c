//! Tests of the real program: processes on loopback with real certificates, real sockets and
//! real files. `stage.rs` sets the stage; the other files are the plays.

mod absent;
mod authority;
mod by_hand;
mod by_hand_errors;
mod client;
mod faces;
mod fail_points;
mod faults;
mod guest;
mod isolation;
mod moving_on;
mod prometheus;
mod proxy;
mod replication;
mod seeing;
mod snapshot;
mod stage;
mod supervision;
