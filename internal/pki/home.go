package pki

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// homeFile lies beside the identity. It holds no secret, but is written like one.
const homeFile = "home.json"

// Home is where a host finds its Proxy: what the token said at enrolment.
type Home struct {
	Proxy string   `json:"proxy"` // node name
	Addrs []string `json:"addrs"` // host:port, in the order to try
}

// Save writes the home to dir in one step.
func (h Home) Save(dir string) error {
	text, err := json.MarshalIndent(h, "", "  ")
	if err == nil {
		err = writeSecret(filepath.Join(dir, homeFile), append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("cannot save where the Proxy is: %w", err)
	}
	return nil
}

// Files are the names of everything this package keeps in a host's state directory.
func Files() []string { return []string{identityFile, homeFile, applicantFile} }

// Kept are the names of all that this package keeps of a node in its state directory, a Proxy's authorities included, and that a
// backup needs. All but home.json are secret.
func Kept() []string { return []string{caFile, oldCAFile, identityFile, homeFile} }

// LoadHome reads what Save wrote.
func LoadHome(dir string) (Home, error) {
	var h Home
	path := filepath.Join(dir, homeFile)
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &h)
	}
	if err != nil {
		return Home{}, fmt.Errorf("cannot load where the Proxy is: %w", err)
	}
	if err := overlay.ValidName(h.Proxy); err != nil || len(h.Addrs) == 0 {
		return Home{}, fmt.Errorf("cannot load where the Proxy is: %s names no Proxy or no address; join again", path)
	}
	return h, nil
}
