//! A peer of the edge: the same network behind hyper on one thread, as one would write it by hand in Rust.
//!
//! `policy-server PORT WEIGHTS`; WEIGHTS are float32 in native order: for each layer of 4-64-64-2 the weight
//! [inputs][outputs], then the bias.

use std::convert::Infallible;

use hyper::service::{make_service_fn, service_fn};
use hyper::{Body, Request, Response, Server, StatusCode};

const FIELDS: [&str; 4] = ["cart_position", "cart_velocity", "pole_angle", "pole_angular_velocity"];

struct Layer<const I: usize, const O: usize> {
    weight: [[f32; O]; I],
    bias: [f32; O],
}

impl<const I: usize, const O: usize> Layer<I, O> {
    fn read(values: &mut impl Iterator<Item = f32>) -> Self {
        let mut layer = Layer { weight: [[0.0; O]; I], bias: [0.0; O] };
        for row in layer.weight.iter_mut().chain([&mut layer.bias]) {
            for value in row.iter_mut() {
                *value = values.next().expect("too few weights");
            }
        }
        layer
    }

    fn forward(&self, input: &[f32; I]) -> [f32; O] {
        let mut sum = self.bias;
        for (value, row) in input.iter().zip(&self.weight) {
            for (total, weight) in sum.iter_mut().zip(row) {
                *total += value * weight;
            }
        }
        sum
    }
}

struct Policy {
    first: Layer<4, 64>,
    second: Layer<64, 64>,
    last: Layer<64, 2>,
}

impl Policy {
    fn action(&self, state: &[f32; 4]) -> usize {
        let hidden = self.first.forward(state).map(f32::tanh);
        let hidden = self.second.forward(&hidden).map(f32::tanh);
        let values = self.last.forward(&hidden);
        usize::from(values[1] > values[0])
    }
}

fn state(body: &[u8]) -> Option<[f32; 4]> {
    let parsed: serde_json::Value = serde_json::from_slice(body).ok()?;
    let object = parsed.as_object().filter(|object| object.len() == FIELDS.len())?;
    let mut state = [0.0; 4];
    for (value, name) in state.iter_mut().zip(FIELDS) {
        *value = object.get(name)?.as_f64()? as f32;
    }
    Some(state).filter(|state| state[0].abs() <= 4.8 && state[2].abs() <= 0.41887903)
}

async fn answer(policy: &'static Policy, request: Request<Body>) -> Result<Response<Body>, hyper::Error> {
    let body = hyper::body::to_bytes(request.into_body()).await?;
    let (status, text) = match state(&body) {
        Some(state) => (StatusCode::OK, format!("{{\"action\":{}}}", policy.action(&state))),
        None => (StatusCode::UNPROCESSABLE_ENTITY, "{\"error\":\"invalid_fields\"}".to_string()),
    };
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    Ok(response)
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let bytes = std::fs::read(&arguments[2]).expect("the weights");
    let mut values = bytes.chunks_exact(4).map(|part| f32::from_ne_bytes([part[0], part[1], part[2], part[3]]));
    let policy: &'static Policy = Box::leak(Box::new(Policy {
        first: Layer::read(&mut values),
        second: Layer::read(&mut values),
        last: Layer::read(&mut values),
    }));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async move {
        let address = ([127, 0, 0, 1], arguments[1].parse().expect("a port")).into();
        let service = make_service_fn(move |_| async move {
            Ok::<_, Infallible>(service_fn(move |request| answer(policy, request)))
        });
        Server::bind(&address).tcp_nodelay(true).serve(service).await.expect("the server");
    });
}
