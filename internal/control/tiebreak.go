package control

import "github.com/virtuoso-vnet/virtuoso/internal/overlay"

// Stays judges one of two links between the same two nodes that were dialled from both ends at once: the one dialled by the
// lower name stays. Both ends come to the same answer. Of two links dialled by the same end the later one stays (it is a
// fresh handshake): that is not asked here.
func Stays(self, peer overlay.Name, dialledBySelf bool) bool { return (self < peer) == dialledBySelf }
