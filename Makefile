# The few words that people type. The build itself is meson.build.
BUILD ?= build
SAN = build-asan build-tsan build-clang build-cover

.PHONY: run build test check-all bench deb clean

run: build
	@$(BUILD)/kith serve --dev

build:
	@sh tool/setup.sh
	@test -f $(BUILD)/build.ninja || meson setup $(BUILD) -Db_lto=true >/dev/null
	@sh tool/sources.changed $(BUILD) || meson setup --reconfigure $(BUILD) >/dev/null
	@ninja -C $(BUILD) --quiet

test:
	@sh tool/setup.sh
	@sh tool/test.sh

# Takes about an hour: tool/check-all.sh says what is in it, and how to run a part.
check-all:
	@sh tool/setup.sh --all
	@sh tool/check-all.sh

# Kith, and mosquitto beside it; bench/run.py says what ONLY= and ROUNDS= do.
bench: build
	@sh tool/setup.sh --bench
	@python3 bench/run.py

# A Debian package of it (packaging/), in the build folder.
deb: build
	@sh packaging/deb.sh $(BUILD)

clean:
	rm -rf $(BUILD) $(SAN)
