// Command patterns runs one rank of the bulk-synchronous benchmark.
//
// It knows nothing of the overlay: see internal/patterns.
package main

import (
	"os"

	"github.com/virtuoso-vnet/virtuoso/internal/patterns"
)

func main() { os.Exit(patterns.Main(os.Args[1:], os.Stdout, os.Stderr)) }
