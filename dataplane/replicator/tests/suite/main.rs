//! Tests of the real program: processes on loopback with real certificates, real sockets and
//! real files. `stage.rs` sets the stage; the other files are the plays.

mod authority;
mod by_hand;
mod by_hand_errors;
mod client;
mod faces;
mod fail_points;
mod guest;
mod moving_on;
mod prometheus;
mod proxy;
mod replication;
mod seeing;
mod stage;
mod supervision;
