# What can be done with this tree. `make test` is the README's test command.

GO ?= go

.PHONY: build test check unit e2e soak soak-frames chaos histories neutral damping accuracy figures experiments cells fig5 counting fuzz generate bench cover demo clean fuzz-lang

build: ## bin/vnet and bin/patterns
	$(GO) build -o bin/ ./cmd/...

test: ## everything, after installing what the tests talk to (as root on Debian)
	scripts/test

check: ## gofmt, vet, and the house's own rules
	@test -z "$$(gofmt -l api cmd e2e internal scripts)" || { gofmt -l api cmd e2e internal scripts; exit 1; }
	$(GO) vet ./...
	$(GO) test ./internal/arch

unit: ## the tests that build no lab
	$(GO) test $$($(GO) list ./... | grep -vE '/(e2e|bench|internal/lab|internal/port)(/|$$)')

e2e: ## the built program in a lab; T=TestName chooses
	$(GO) test -count=1 -v -timeout 12m -run '$(or $(T),.)' ./e2e

soak: ## the long forms of the end-to-end tests: minutes to hours; write the result into docs/soak.md
	E2E_LONG=1 $(GO) test -count=1 -v -timeout 6h -run '$(or $(T),.)' ./e2e

soak-frames: ## frames of all kinds, MTUs and guests at full speed for 10 minutes, checked byte for byte; write the result into docs/soak.md
	E2E_LONG=1 $(GO) test -count=1 -v -timeout 30m -run '$(or $(T),TestFramesOfAllKinds|TestQEMUGuests|TestALossyPath)' ./e2e

chaos: ## half an hour of kills, cuts, full disks and replaced Proxies, from a seed: SEED=7 FOR=30m; write the result into docs/soak.md
	$(GO) test -count=1 -v -timeout 6h -run '^TestChaos$$' ./e2e -args -chaos $(or $(FOR),30m) -seed $(or $(SEED),$(shell date +%s))

cells: build ## twelve cells of the grid in the lab, three runs each, and every policy in one of them: half an hour of a quiet machine
	bin/vnet experiment cells --out docs/experiments
	bin/vnet experiment baselines --out docs/experiments

histories: ## 1,000 random histories of adaptation; write the result into docs/soak.md
	$(GO) test -count=1 -v -timeout 3h -run TestRandomHistories ./internal/proxy -args -histories 1000

neutral: ## 100 changes without effect, through whole daemons: at most two taken back
	$(GO) test -count=1 -v -timeout 1h -run TestNeutralChangesStay ./internal/proxy -args -neutral 100

damping: ## two topologies that alternate at periods from 0.2 to 30 s; the table of docs/adaptation.md
	$(GO) test -count=1 -v -timeout 1h -run TestAlternationIsDamped ./internal/proxy -args -sweep

accuracy: ## every pattern, seeded: 1,500 runs through counters and inference, 1,000 through whole daemons over the simulated network; write the result into docs/soak.md
	ACCURACY_RUNS=1500 $(GO) test -count=1 -v -timeout 1h -run TestEveryPatternIsRecovered ./internal/vttif
	SIMNET_RUNS=1000 $(GO) test -count=1 -v -timeout 2h -run TestEveryPatternIsRecoveredOverTheSimulatedNetwork ./internal/proxy

figures: ## Figures 6 and 7 into docs/experiments
	$(GO) run ./cmd/vnet experiment fig6 --out docs/experiments
	$(GO) run ./cmd/vnet experiment fig7 --out docs/experiments

experiments: build ## Figures 8 to 13, damping and the full grid in the simulator, into docs/experiments: minutes
	for f in fig8 fig9 fig10 fig11 fig12 fig13 damping grid; do bin/vnet experiment $$f --out docs/experiments || exit 1; done

fig5: ## Figure 5 into docs/experiments: unmodified MPI programs over four VMs (rsvg-convert, of librsvg2-bin, makes the PNG)
	FIG5_OUT=$(CURDIR)/docs/experiments $(GO) test -count=1 -v -run TestAnUnmodifiedMPIProgramIsSeen ./e2e
	for f in docs/experiments/fig5-*.svg; do rsvg-convert -z 2 -o $${f%.svg}.png $$f || exit 1; done

counting: ## what counting costs: nanoseconds a frame, and throughput in pairs
	$(GO) test -run '^$$' -bench WorkerCounting -benchtime 0.2s -count 20 ./internal/node
	COUNTING_LABS=30 $(GO) test -count=1 -v -timeout 1h -run TestWhatCountingCosts ./e2e

fuzz: ## every decoder for FUZZTIME seconds (default 5), or FUZZ_MINUTES of CPU time shared by all; write the result into docs/soak.md
	scripts/fuzz

fuzz-lang: ## the language's parser for five minutes
	$(GO) test -run '^$$' -fuzz '^FuzzParse$$' -fuzztime 5m ./internal/lang

generate: ## the code of the contracts in api/; fails when what is committed differs
	api/generate.sh
	git diff --exit-code -- api

bench: ## benchmarks of the rooms; those of whole systems are make bench-NAME
	$(GO) test -run '^$$' -bench . -benchmem ./internal/...

bench-%: ## one of bench/: a measured run that prints a table
	$(GO) run ./bench/$*

cover: ## which lines the tests that build no lab reach: cover.out, and a line a package
	$(GO) test -coverprofile cover.out $$($(GO) list ./... | grep -vE '/(e2e|bench|api|internal/lab|internal/port)(/|$$)')
	$(GO) tool cover -func cover.out | tail -1

demo: ## a star that becomes the application's shape
	$(GO) run ./cmd/vnet demo

clean:
	rm -rf bin cover.out
