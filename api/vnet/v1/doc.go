// Package vnetv1 is the public contract of a Virtuoso daemon: messages and service generated from vnet.proto, and the
// errors the service answers with.
//
// It holds no behaviour and imports nothing else of this module, so that programs that watch or steer an overlay can use
// it alone. The client and the handler are in the package vnetv1connect beside it.
package vnetv1
