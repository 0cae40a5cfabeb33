// Package bench is what the benchmarks of whole systems share: daemons of the built program in a lab, a client of their API
// that runs inside, and medians written as CSV and as a table.
//
// It measures nothing by itself; each folder beside it is one benchmark, a program that is not part of the tests.
package bench
