package node

import (
	"strings"
	"testing"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

func TestKindsThatThereAreNotAreRefused(t *testing.T) {
	for _, ok := range [][]string{nil, {"link"}, {"vm.moved", "adapt"}} {
		if err := checkKinds(ok); err != nil {
			t.Errorf("%v: %v", ok, err)
		}
	}
	for _, bad := range []string{"nonsense", "link.", "lin", "link.upp", ""} {
		err := vnetv1.AsError(checkKinds([]string{"link", bad}))
		if err == nil || !strings.Contains(err.Error(), "knows no such kind") || !strings.Contains(err.Hint, "adapt, address, certificate, change") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
