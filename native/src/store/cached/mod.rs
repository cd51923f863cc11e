//! x
mod protocol;
#[cfg(test)]
mod model;
