# labnet: `make up` is the front door, `make test` runs everything. Both install what is missing; run them on Debian 12.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
PREFIX ?= /opt/labnet
PACKAGES := iptables nftables iproute2 iputils-ping procps python3-venv
PROGRAMS := iptables nft ip ping sysctl
SUDO := $(shell [ "$$(id -u)" = 0 ] || command -v sudo)
SCENARIO ?= eks-2node
WORKERS ?= 3

.PHONY: help up down test golden lint unit bench conformance install system venv dev shark browser lock clean

help:                ## what there is to make
	@grep -hE '^[a-z]+: .*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

up: venv             ## bring up the deck's two-node cluster, show it, follow one packet
	@$(SUDO) $(VENV)/bin/labnet up $(SCENARIO)
	@$(SUDO) $(VENV)/bin/labnet status
	@echo
	@$(SUDO) $(VENV)/bin/labnet trace pod2 pod3
	@echo
	@echo "next:  sudo $(VENV)/bin/labnet exec pod2 -- ping -c1 8.8.8.8"
	@echo "       sudo ip netns exec $(SCENARIO)-node1 ip rule"
	@echo "       sudo $(VENV)/bin/labnet check        what this scenario promises"
	@echo "       sudo $(VENV)/bin/labnet down         everything gone, the machine as before"

down: venv           ## take every lab down
	@$(SUDO) $(VENV)/bin/labnet down --all

test: dev            ## lint, types, layers and the whole test suite (root: real namespaces)
	@$(MAKE) --no-print-directory lint
	@$(SUDO) VENV=$(VENV) bash tools/test.sh -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m 'not alone'
	@$(SUDO) VENV=$(VENV) bash tools/test.sh -m alone

unit: dev            ## what needs no root
	$(VENV)/bin/python -m pytest -m 'not kernel'

golden: dev          ## write the kernel states below tests/golden anew; review the difference
	$(SUDO) $(VENV)/bin/python -m pytest tests/kernel/netfilter/test_node_state_golden.py --refresh-golden

lint: dev            ## ruff, mypy --strict, import contracts
	$(VENV)/bin/ruff check labnet tests tools scenarios
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-cache

bench: dev           ## times and ratios, beside what the kernel alone costs and beside other CNI plugins
	@[ -x /usr/lib/cni/bridge ] || { echo "installing containernetworking-plugins, to compare with"; $(SUDO) apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq containernetworking-plugins >/dev/null; } || \
	  echo "containernetworking-plugins could not be installed: labnet's CNI is measured alone"
	$(SUDO) $(VENV)/bin/python tools/bench.py

conformance: dev     ## the EC2 probe against labnet and against moto; refreshes the README's table
	$(VENV)/bin/python -m tools.compare_moto

install: system      ## labnet for everybody on this machine: /opt/labnet, linked as /usr/local/bin/labnet
	$(SUDO) $(PYTHON) -m venv $(PREFIX)
	$(SUDO) $(PREFIX)/bin/pip install --quiet --upgrade .
	$(SUDO) ln -sfn $(PREFIX)/bin/labnet /usr/local/bin/labnet
	@echo "installed: sudo labnet up eks-2node"

system:
	@missing=""; for program in $(PROGRAMS); do PATH=$$PATH:/usr/sbin:/sbin command -v $$program >/dev/null || missing="$$missing $$program"; done; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || missing="$$missing python3-venv"; \
	if [ -n "$$missing" ]; then \
	  echo "installing what is missing:$$missing"; \
	  if [ "$$(id -u)" != 0 ] && [ -z "$(SUDO)" ]; then echo "this needs root and there is no sudo: run it as root"; exit 4; fi; \
	  $(SUDO) apt-get update -qq && DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq $(PACKAGES) >/dev/null; \
	fi; \
	if [ "$$(id -u)" != 0 ] && [ -z "$(SUDO)" ]; then echo "labnet makes network namespaces and needs root, and there is no sudo: run make as root"; exit 4; fi

venv: system $(VENV)/.labnet

$(VENV)/.labnet: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -c requirements.lock -e .
	@$(VENV)/bin/python -m compileall -q labnet scenarios  # as an installed package has it: the first `up` need not wait for the compiler
	@touch $@

dev: venv $(VENV)/.dev shark browser

shark:               # tests read capture files as Wireshark does, and compare filters with tcpdump's
	@{ command -v tshark && PATH=$$PATH:/usr/sbin command -v tcpdump; } >/dev/null || { echo "installing tshark and tcpdump, for the tests of capture files"; \
	  $(SUDO) apt-get update -qq && $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq tshark tcpdump libpcap0.8 >/dev/null; } || \
	  echo "tshark or tcpdump could not be installed: the tests of capture files will fail and say so"

browser:             # tests look at the page of a trace in a browser without a window
	@command -v chromium-headless-shell >/dev/null || command -v chromium >/dev/null || { echo "installing chromium-headless-shell, for the tests of pages"; \
	  $(SUDO) apt-get update -qq && $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	  chromium-headless-shell fonts-dejavu-core >/dev/null; } || \
	  echo "no browser could be installed: the tests of pages will fail and say so"

$(VENV)/.dev: setup.cfg requirements.lock
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[dev]'
	@touch $@

lock: dev            ## write down the versions that CI uses
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[dev,interop]'
	$(VENV)/bin/pip freeze --exclude-editable | grep -vi '^labnet' > requirements.lock

clean:               ## forget the venv and caches
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
