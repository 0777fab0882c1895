//! The schema planner, from the plan to its roll-back.

mod apply;
mod assertion;
mod functions;
mod guards;
mod journeys;
mod moves;
mod pairs;
mod plan;
mod policies;
#[path = "../support/mod.rs"]
mod support;
mod verify;
