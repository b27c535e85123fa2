package event_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/hookline/hookline/event"
)

// A secret is rotated: for a while requests carry a signature of the old and of the new one.
func ExampleSigner() {
	signer, err := event.ParseSigner([]string{
		"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
		"whsec_TmV3IHNlY3JldCB3aXRoIDI0IGJ5dGVz",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	h := http.Header{}
	if err := signer.Headers(h, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`)); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(h.Get(event.HeaderID))
	fmt.Println(h.Get(event.HeaderTimestamp))
	fmt.Println(h.Get(event.HeaderSignature))
	// Output:
	// msg_p5jXN8AQM9LWM0D4loKWxJek
	// 1614265330
	// v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= v1,kAn2gMD8IFDShENB90hrLzv6J+b4oVD2li9Ha+u7vjg=
}

// A receiver has the public key only.
func ExampleVerifier() {
	key, err := event.ParseSigningKey("whsk_VEVTVFNJR05JTkdLRVlET05PVFVTRVRISVNGT1JBTlk=")
	if err != nil {
		fmt.Println(err)
		return
	}
	signer, err := event.NewSigner(nil, []event.SigningKey{key})
	if err != nil {
		fmt.Println(err)
		return
	}
	verifier, err := event.ParseVerifier([]string{key.Public().String()})
	if err != nil {
		fmt.Println(err)
		return
	}
	h, body, now := http.Header{}, []byte(`{"regist":true}`), time.Unix(1767323045, 0)
	if err := signer.Headers(h, "019a2b4c-2a", now, body); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(verifier.VerifyAt(h, body, now.Add(time.Minute)))
	fmt.Println(verifier.VerifyAt(h, []byte(`{"regist":false}`), now))
	err = verifier.VerifyAt(h, body, now.Add(time.Hour))
	fmt.Println(err, errors.Is(err, event.ErrTooOld))
	// Output:
	// <nil>
	// event: no matching signature
	// event: webhook timestamp too old: 1h0m0s, tolerated are 5m0s true
}

// Secrets do not get into logs by accident.
func ExampleSecret() {
	secret := event.GenerateSecret()
	fmt.Println(secret, len(secret.Reveal()))
	_, err := event.ParseSecret("whsec_tooshort")
	fmt.Println(err)
	// Output:
	// whsec_[redacted] 50
	// event: bad key: a secret of 6 bytes; needed are 24 to 64
}

func ExampleAppendCloudEvent() {
	prev := uint64(15)
	e := event.Envelope{
		ID: "019a2b4c-2a", Type: event.OnStreamChanged, Source: "lab 1", Incarnation: "019a2b4c", Epoch: 1767319445678,
		Stream: "__defaultVhost__/live/a", Publication: "019a2b4c-29", Seq: 17, Prev: &prev,
		Time: time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.UTC),
	}
	one := event.AppendCloudEvent(nil, &e, 42, []byte(`{"regist":true}`))
	fmt.Println(string(bytes.ReplaceAll(one, []byte(`,"`), []byte(",\n \""))))
	// Output:
	// {"specversion":"1.0",
	//  "id":"019a2b4c-2a",
	//  "source":"/hookline/lab%201",
	//  "type":"hookline.on_stream_changed",
	//  "subject":"__defaultVhost__/live/a",
	//  "time":"2026-01-02T03:04:05.678901234Z",
	//  "datacontenttype":"application/json",
	//  "partitionkey":"__defaultVhost__/live/a",
	//  "sequence":"00000000000000000017",
	//  "prev":"00000000000000000015",
	//  "epoch":"00000001767319445678",
	//  "incarnation":"019a2b4c",
	//  "publication":"019a2b4c-29",
	//  "hookindex":"00000000000000000042",
	//  "data":{"regist":true,
	//  "hook_index":42,
	//  "mediaServerId":"lab 1"}}
}

func ExampleParseCloudEvent() {
	e, index, body, err := event.ParseCloudEvent([]byte(`{
		"specversion": "1.0", "id": "019a2b4c-2a", "source": "/hookline/lab%201", "type": "hookline.on_server_exited",
		"time": "2026-01-02T03:04:05Z", "sequence": "00000000000000000017", "hookindex": "00000000000000000042",
		"data": {"hook_index": 42, "mediaServerId": "lab 1"}
	}`))
	fmt.Println(e.Type, e.Source, e.Seq, index, string(body), err)
	_, _, _, err = event.ParseCloudEvent([]byte(`{"specversion": "0.3"}`))
	fmt.Println(err)
	// Output:
	// on_server_exited lab 1 17 42 {"hook_index": 42, "mediaServerId": "lab 1"} <nil>
	// event: cloudevent: specversion: not 1.0
}

func ExampleCloudEventBatch() {
	var batch event.CloudEventBatch
	for i := range uint64(3) {
		e := event.Envelope{ID: fmt.Sprintf("id-%d", i), Type: event.OnPlay, Source: "lab", Seq: i + 1, Time: time.Unix(0, 0)}
		batch.Add(&e, i, []byte(`{}`))
	}
	list, err := event.ParseCloudEventBatch(batch.Bytes(), event.BatchLimit{Events: 50})
	fmt.Println(batch.Len(), err)
	for _, ce := range list {
		fmt.Println(ce.Envelope.ID, ce.Envelope.Seq, string(ce.Body))
	}
	// Output:
	// 3 <nil>
	// id-0 1 {"hook_index":0,"mediaServerId":"lab"}
	// id-1 2 {"hook_index":1,"mediaServerId":"lab"}
	// id-2 3 {"hook_index":2,"mediaServerId":"lab"}
}
