// Package lab builds a small internet of network namespaces on one machine, for demonstrations and tests.
//
// It does not know the overlay: it makes sites, hosts, VMs and wide-area paths, runs programs inside them and
// counts what the paths drop. A program that uses it calls [MaybeChild] first thing in main or TestMain, because
// the lab runs the same binary again as its leader and as the first process of every namespace.
//
// One process, the leader, is process 1 of a user, network, mount and PID namespace of its own; each site, host
// and VM is a further set of namespaces with an init below it. The kernel ends them all, with every interface,
// mount and file they held, the moment the leader ends, and the leader ends when the program that started it does.
package lab
