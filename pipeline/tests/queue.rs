//! t
use sqlx as _;
