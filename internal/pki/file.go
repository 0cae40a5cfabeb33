package pki

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// maxBundle bounds a PEM file in bytes: a key and two certificates take less than 3 kB.
const maxBundle = 64 << 10

const (
	pemKey  = "PRIVATE KEY"
	pemCert = "CERTIFICATE"
)

// bundle is what a PEM file of ours holds.
type bundle struct {
	key   *ecdsa.PrivateKey
	certs []*x509.Certificate
}

func (b bundle) encode() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(b.key)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the key: %w", err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: der})
	for _, cert := range b.certs {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: pemCert, Bytes: cert.Raw})...)
	}
	return text, nil
}

func decodeBundle(text []byte) (bundle, error) {
	var b bundle
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			return b, nil
		}
		text = rest
		switch block.Type {
		case pemKey:
			key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return b, fmt.Errorf("cannot read the key: %w", err)
			}
			ec, ok := key.(*ecdsa.PrivateKey)
			if !ok || b.key != nil {
				return b, errors.New("cannot read the key: want exactly one ECDSA key")
			}
			b.key = ec
		case pemCert:
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return b, fmt.Errorf("cannot read the certificate: %w", err)
			}
			b.certs = append(b.certs, cert)
		}
	}
}

func readBundle(path string) (bundle, error) {
	info, err := os.Stat(path)
	if err != nil {
		return bundle{}, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return bundle{}, fmt.Errorf("others may read the key in %s: run chmod 600 %s", path, path)
	}
	if info.Size() > maxBundle {
		return bundle{}, fmt.Errorf("%s is no key file: it has %d bytes", path, info.Size())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return bundle{}, err
	}
	b, err := decodeBundle(text)
	if err != nil {
		return b, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}

// writeSecret replaces a file in one step: a crash leaves the old one or the new one, and nobody else can read either.
func writeSecret(path string, text []byte) (err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*") // created with mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync() // so that the rename itself survives a power cut
}
