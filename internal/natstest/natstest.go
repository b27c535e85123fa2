// Package natstest starts a real nats-server with JetStream in the process of a test.
package natstest

import (
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// patience is how long a server may take until it is ready, and for an answer, on a machine that is busy and syncs each write.
const patience = 3 * time.Minute

// URL starts a server whose streams are in files that are synced for each write, and returns its address, on loopback. It ends with
// the test, which fails when there is none.
func URL(tb testing.TB) string {
	tb.Helper()
	srv, err := server.NewServer(&server.Options{
		ServerName: "test", Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true,
		JetStream: true, StoreDir: tb.TempDir(), SyncAlways: true,
	})
	if err != nil {
		tb.Fatal(err)
	}
	srv.Start()
	tb.Cleanup(func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	if !srv.ReadyForConnections(patience) {
		tb.Fatal("nats-server does not get ready")
	}
	return srv.ClientURL()
}

// JetStream starts a server as [URL] does, and connects to it.
func JetStream(tb testing.TB) jetstream.JetStream {
	tb.Helper()
	conn, err := nats.Connect(URL(tb), nats.Timeout(patience))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(conn.Close)
	js, err := jetstream.New(conn, jetstream.WithDefaultTimeout(patience))
	if err != nil {
		tb.Fatal(err)
	}
	return js
}
