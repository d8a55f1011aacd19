# kudev: see README.md. Everything that a target needs beyond Go, it installs from Debian's packages.

GO      ?= go
PREFIX  ?= /usr/local
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
# The value of module_root where neither a flag, the kernel command line nor kudev.conf names one: make MODULE_ROOT=/nix/modules
MODULE_ROOT ?=
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.moduleRoot=$(MODULE_ROOT)
# Where the program goes: tests that measure it, or boot it, build it with make too, so that these flags stand here alone.
PROGRAM ?= kudev
export CGO_ENABLED = 0
# Functions begin at multiples of 8 bytes, not 32, which saves 90 kB. And inlining is for what is hot: it copies functions into
# their callers, and everywhere else, where a start or an error is what costs, the copies are 280 kB that save nothing. (With errors
# among the hot, the error values in their variables are made by the compiler, not when the program starts.)
LDFLAGS += -funcalign=8
# crypto's random numbers bring 32 MiB of zeros, never touched, that lie behind the runtime's variables. Where those reach over a multiple of
# 2 MiB, a kernel with transparent huge pages gives the program the whole 2 MiB when it starts. A lower start keeps them under it.
ifeq ($(shell $(GO) env GOARCH),amd64)
LDFLAGS += -T 0x3c1000
endif
HOT     := runtime internal/... errors bytes strings slices unicode/utf8 encoding/binary hash/... compress/... \
	github.com/klauspost/compress/... github.com/mikelolasagasti/xz \
	$(addprefix github.com/kudev/kudev/,modload/... hotplug rules)
GCFLAGS := -gcflags=all=-l $(HOT:%=-gcflags=%=)
# The collector that Go had until 1.25 is 49 kB smaller than 1.26's, which is made for large heaps, and touches fewer pages in a program
# that is over at once. A Go that has it no more builds with its own.
OLDGC   := $(shell GOEXPERIMENT=nogreenteagc $(GO) env GOVERSION >/dev/null 2>&1 && echo GOEXPERIMENT=nogreenteagc)
# The stripped program may have this many bytes, 6 MiB.
SIZE    := 6291456

# What the tests of layers 2 to 4 use. apt-get runs only when one of them is missing; Debian's kernel and the peers are
# unpacked into a cache and never installed: see testdata/debian/fetch.
PACKAGES := qemu-system-x86 seabios busybox-static cpio zstd xz-utils kmod libkmod-dev gcc libc6-dev iproute2 xfsprogs btrfs-progs dosfstools e2fsprogs util-linux mandoc

.PHONY: all size build install install-links demo test-unit test test-long lint bench cross packages clean

all: build

build:
	$(OLDGC) $(GO) build -trimpath -ldflags '$(LDFLAGS)' $(GCFLAGS) -o '$(PROGRAM)' ./cmd/kudev

# Binary, manual pages (a name of several commands is a link to its page), completion for bash and an example kudev.conf;
# make install-links also makes kudev this machine's modprobe, insmod, rmmod, lsmod, modinfo, depmod and udevadm.
install: build
	install -D -m 755 '$(PROGRAM)' '$(DESTDIR)$(PREFIX)/sbin/kudev'
	install -D -m 644 cmd/kudev/etc/kudev.conf '$(DESTDIR)$(PREFIX)/share/doc/kudev/kudev.conf'
	install -D -m 644 cmd/kudev/etc/completion.bash '$(DESTDIR)$(PREFIX)/share/bash-completion/completions/kudev'
	for page in cmd/kudev/man/*; do \
		section=$${page##*.}; dir='$(DESTDIR)$(PREFIX)'/share/man/man$$section; \
		install -D -m 644 $$page $$dir/$${page##*/}; \
		for name in $$(sed -n '/^\.Sh NAME/,/^\.Nd/s/^\.Nm \([^ ]*\).*/\1/p' $$page); do \
			[ $$name.$$section = $${page##*/} ] || ln -sf $${page##*/} $$dir/$$name.$$section; \
		done; \
	done

install-links: install
	for name in modprobe insmod rmmod lsmod modinfo depmod udevadm; do ln -sf kudev '$(DESTDIR)$(PREFIX)/sbin/'$$name; done

size: build
	@n=$$(wc -c <'$(PROGRAM)'); echo "kudev has $$n bytes; $(SIZE) are allowed"; [ "$$n" -le $(SIZE) ]

# The program must build wherever Linux does: a port that breaks is found here.
cross:
	for arch in arm64 arm riscv64; do GOOS=linux GOARCH=$$arch $(GO) build -o /dev/null ./cmd/kudev && echo "builds for $$arch" || exit 1; done

packages:
	@missing=$$(for p in $(PACKAGES); do dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
	if [ -n "$$missing" ]; then apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$missing; fi
	@sh testdata/debian/fetch >/dev/null

# Debian's kernel on a machine with more than forty devices, in QEMU; see cmd/kudev/internal/vm/demo.
demo: packages
	$(GO) run ./cmd/kudev/internal/vm/demo

# Layer 1: fake trees, no privileges, seconds.
test-unit:
	$(GO) vet ./...
	$(GO) test ./...

# Layers 1 to 4: also the kernel's own netlink in network namespaces, guests, and the peers. Needs root.
test: packages lint cross size
	CGO_ENABLED=1 $(GO) test -race ./...
	$(GO) test -tags system -p 1 -timeout 28m ./...

# Hours: the fuzzers, FUZZTIME each, the repeated boots, and the daemon in a flood.
FUZZTIME ?= 10m
test-long: test
	KUDEV_ROUNDS=300 $(GO) test -tags system -timeout 2h -run NothingGrows ./cmd/kudev/internal/daemon
	KUDEV_SOAK=10m $(GO) test -tags system -timeout 30m -run StandsAFlood ./cmd/kudev
	KUDEV_BOOTS=10 $(GO) test -tags system -timeout 4h -run 'Coldplug' -v ./cmd/kudev/internal/vm
	grep -rl --include='*_test.go' '^func Fuzz' . | while read -r file; do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z]*\)(.*/\1/p' $$file); do \
			$(GO) test ./$$(dirname $$file) -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x || exit 1; \
		done; \
	done

lint:
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'run gofmt -w on these'; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags system ./...
	@command -v mandoc >/dev/null || { echo 'mandoc reads the manual pages: make packages installs it'; exit 1; }
	mandoc -T lint -W warning cmd/kudev/man/*

# Look-ups and the first answer, beside libkmod's in the same run; the metric "times" is how many times as fast. modprobe -R as a process
# beside kmod's; "of-kmod" is how much of its time kudev takes. And, in a guest, the
# loading of a machine's modules beside insmod's: the metric "of-insmod" is how much of its time kudev takes.
bench: packages
	$(GO) test -tags system -run '^$$' -bench AgainstLibkmod -benchtime 1x ./modload
	$(GO) test -tags system -run '^$$' -bench ModprobeAgainstKmod -benchtime 500x ./modload
	$(GO) test -tags system -run '^$$' -bench Coldplug -benchtime 1x ./cmd/kudev/internal/vm
	$(GO) test -tags system -run '^$$' -bench LoadingSideBySide -benchtime 5x -timeout 20m ./cmd/kudev/internal/vm

clean:
	rm -rf kudev build
