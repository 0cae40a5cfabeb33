// Package experiments holds the scenarios of the paper's experiments as lab files.
//
// `vnet lab run experiments/cluster8.yaml` builds one by hand; `vnet experiment` reads them from the program.
package experiments

import "embed"

// Files are the scenarios, NAME.yaml each.
//
//go:embed *.yaml
var Files embed.FS
