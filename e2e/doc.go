// Package e2e tries the whole system from outside: the built program, in a lab of namespaces, with real applications.
//
// It holds tests only, and what several of them need: a way to build the program, to describe a lab in a few words, and
// numbered streams of packets that know which of them were lost or came twice.
package e2e
