# What there is to do here. "make test" first installs the programs that the
# end-to-end tests drive, where it may.

VERSION  := $(shell git describe --tags --dirty 2>/dev/null || echo dev)
COMMIT   := $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
FUZZTIME ?= 30s
TESTFLAGS ?=

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

# Programs the end-to-end tests drive (gcc is for the race detector), and the
# Debian packages that have them and what they load: SASL PLAIN, TLS for swaks.
PROGRAMS := postfix saslpasswd2 swaks msmtp curl python3 gcc slapd fail2ban-regex node opendkim-testmsg dkimproxy-verify dkimverify openssl gnutls-cli mutt tmux prometheus promtool
PACKAGES := postfix sasl2-bin libsasl2-modules libsasl2-modules-db swaks libnet-ssleay-perl openssl gnutls-bin \
            msmtp curl python3 gcc libc6-dev slapd fail2ban opendkim-tools libmail-dkim-perl python3-dkim \
            mutt tmux prometheus libdb5.3 libgnutls-dane0 libidn12 libnsl2 libpcre2-8-0
# The authorization server of the end-to-end tests is a package of npm. Node may
# have come from elsewhere, which Debian would not let stand beside its own.
OIDC := cmd/postern/testdata/oidc
NODE := $(shell command -v node >/dev/null || echo nodejs npm)
# Exim, which cannot be installed beside Postfix (and needs the last five of the
# packages above): taken apart, and run from here.
EXIM := .tools/exim4

.PHONY: all build test test-short e2e durability fuzz lint run tools clean
.DEFAULT_GOAL := build

all: lint build test

build: ## one static binary
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)" -o postern ./cmd/postern

test: tools ## everything, with the race detector: several minutes
	go test -race -timeout 30m $(TESTFLAGS) ./...

test-short: tools ## the same with smaller loads
	go test -short -timeout 10m $(TESTFLAGS) ./...

e2e: tools ## only the end-to-end tests of the binary
	go test -count=1 -timeout 30m $(TESTFLAGS) ./cmd/postern

# What is lost when something breaks: nothing. In numbers, for docs/reliability.md.
KILLS      ?= 100
POWER_CUTS ?= 50
MOVED      ?= 10000

durability: tools ## faults, power cuts and kills, more of them than the tests make; needs root
	CI=true POSTERN_CUTS=all POSTERN_KILLS=$(KILLS) POSTERN_POWER_CUTS=$(POWER_CUTS) POSTERN_MOVED=$(MOVED) POSTERN_MESSAGES=5000 POSTERN_WAITING=100000 POSTERN_BACKLOG=20000 go test -count=1 -timeout 60m -v \
		-run 'ArrivesOnce|EveryFault|BodyIsDurable|PowerCut|WithoutSync|KilledUnderLoad|KillNine|RealFullDisk|BecomesReadOnly|Vanishes|ManyMessages|MoveWhileMailFlows|Outage|CutAtEveryOctet' ./relay ./relay/queue ./cmd/postern \
		| grep -E '^(---|FAIL|ok|\*\*\*)|_test.go:'

fuzz: ## every fuzz target for FUZZTIME
	@set -e; grep -rHoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . | sed 's/:func / /' | sort | \
	while read -r file target; do \
		echo "$$target in $$(dirname "$$file")"; \
		go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$(dirname "$$file")"; \
	done

lint: ## format, vet for Linux and Windows, staticcheck
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "run gofmt -w on:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	GOOS=windows go vet ./...
	go run $(STATICCHECK) ./...

run: build ## a relay to play with
	./postern demo

tools: ## what the end-to-end tests drive
	@missing=""; for p in $(PROGRAMS); do PATH="$$PATH:/usr/sbin:/sbin" command -v $$p >/dev/null || missing="$$missing $$p"; done; \
	ls /usr/lib/*/sasl2/libplain.so >/dev/null 2>&1 || missing="$$missing SASL-PLAIN"; \
	perl -MNet::SSLeay -e1 2>/dev/null || missing="$$missing Net::SSLeay"; \
	[ -x $(EXIM)/usr/sbin/exim4 ] || missing="$$missing exim4"; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "installing for the end-to-end tests:$$missing"; \
		export DEBIAN_FRONTEND=noninteractive; \
		echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections; \
		echo "slapd slapd/no_configuration boolean true" | debconf-set-selections; \
		apt-get update -q && apt-get install -y -q --no-install-recommends $(PACKAGES) $(NODE) && \
		mkdir -p $(EXIM) && ( cd $(EXIM) && apt-get download -q exim4-daemon-light && dpkg -x exim4-daemon-light_*.deb . ); \
	else \
		echo "*** missing:$$missing"; \
		echo "*** The end-to-end tests that need them will be skipped. As root on Debian or Ubuntu, 'make tools' installs them."; \
	fi
	@test -d $(OIDC)/node_modules/oidc-provider || npm --prefix $(OIDC) ci --no-audit --no-fund || \
		echo "*** missing: oidc-provider of npm. The end-to-end tests that need it will be skipped."

clean:
	rm -f postern
	go clean -testcache
