package sqlstore_test

import (
	"testing"

	"github.com/hookline/hookline/receiver/sqlstore"
)

func TestTxOutsideOfAHandler(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	sqlstore.Tx(t.Context())
}
