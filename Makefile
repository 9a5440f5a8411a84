# A thin front for meson, ninja and the scripts in tools/; each target installs what it needs by itself (tools/deps.sh).
#
#   make          build into build/                  make lint     layers, bounds, format, headers, scripts
#   make demo     a guest on a disk that is changed  make sim      SEEDS=n NODES=n: the simulator, as long as you like
#   make check    everything that must hold          make fuzz     FUZZ_SECONDS=n per target
#   make soak     the long integration tests         make bench    against nbdkit and qemu-storage-daemon
#   make install  PREFIX=/usr/local DESTDIR=         make clean    remove every build directory
#
# CC=clang builds and checks with clang.

ifeq ($(origin CC),default)
CC := gcc
endif
CC_NAME := $(notdir $(firstword $(CC)))
BUILD ?= $(if $(filter gcc cc,$(CC_NAME)),build,build-$(CC_NAME))
PREFIX ?= /usr/local
SEEDS ?= 10000
NODES ?= 1
FUZZ_SECONDS ?= 60
PYTHON := /usr/bin/python3
CHECK := $(PYTHON) tools/check.py --build $(BUILD) --cc "$(CC)" --fuzz-seconds $(FUZZ_SECONDS)

.DEFAULT_GOAL := build
.PHONY: build demo check soak lint bench sim fuzz install clean deps-build deps-test deps-lint deps-bench compile

deps-build deps-test deps-lint deps-bench: deps-%:
	@tools/deps.sh $*

$(BUILD)/build.ninja:
	CC="$(CC)" meson setup $(BUILD)

compile: $(BUILD)/build.ninja
	@meson compile -C $(BUILD)

build: deps-build
	@$(MAKE) --no-print-directory compile

demo: deps-test
	@$(MAKE) --no-print-directory compile
	@$(PYTHON) tools/demo.py --build $(BUILD)

check: deps-test deps-lint
	@$(CHECK)

lint: deps-lint
	@$(PYTHON) tools/lint

soak: deps-test
	@$(MAKE) --no-print-directory compile
	@SLUICE_BUILD=$(abspath $(BUILD)) $(PYTHON) -m pytest -v -p no:cacheprovider tests/integration -m soak

sim: deps-test
	@$(MAKE) --no-print-directory compile
	@$(BUILD)/tests/sim/sluice-sim --seeds $(SEEDS) --nodes $(NODES)

fuzz: deps-test
	@$(CHECK) --only build-fuzz,fuzz

bench: deps-bench
	@$(MAKE) --no-print-directory compile
	@$(PYTHON) bench/run.py --build $(BUILD)

# A build of its own: optimised as what is tested, for the prefix that was asked for, and not stopped by the warnings of
# a compiler that we have not seen
install: deps-build
	@test -f build-install/build.ninja || CC="$(CC)" meson setup build-install --buildtype=plain -Doptimization=2 -Dwerror=false
	@meson configure build-install --prefix=$(abspath $(PREFIX))
	@meson compile -C build-install
	@DESTDIR="$(DESTDIR)" meson install -C build-install --no-rebuild

clean:
	rm -rf build build-*
