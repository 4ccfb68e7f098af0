# What a developer types. `make test` installs what tests need when it is missing.
.PHONY: all test deps lint kill-matrix bench demo

FEATURES := --features runbook/failpoints

all: lint test

# Debian and PyPI packages that tests talk to: BIND 9 and moto.
deps:
	tests/support/install-deps.sh

test: deps
	cargo test --workspace --locked $(FEATURES)

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked $(FEATURES) -- -D warnings

# Only the matrix of kills, with its list of points.
kill-matrix:
	cargo test --locked -p runbook $(FEATURES) --test kill_matrix -- --nocapture

# Figures as ratios in one run; needs a release build.
bench:
	cargo bench --locked -p runbook --bench figures

demo:
	cargo run --locked -- demo
