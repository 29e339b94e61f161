// Package request is what the program tapedeck asks of the program tapedeck-lake, which it starts in its place. It
// links nothing of either.
package request

import "time"

// Lake says where the tables are. Secrets are not in it.
type Lake struct {
	// Catalog is the address of an Iceberg REST catalog, Warehouse what it calls the warehouse.
	Catalog   string `json:"catalog"`
	Warehouse string `json:"warehouse,omitempty"`
	// Endpoint is the address of the object storage; empty is Amazon's.
	Endpoint string `json:"endpoint,omitempty"`
	// Region is the region of the object storage; empty is us-east-1, which stores other than Amazon's accept.
	Region string `json:"region,omitempty"`
	// Namespace has the tables; empty is tapedeck.
	Namespace string `json:"namespace,omitempty"`
}

// Keys are the keys of lake in config.yaml.
func Keys() []string { return []string{"catalog", "endpoint", "namespace", "region", "warehouse"} }

// The variables with the secrets of the catalog. Those that end in _FILE name a file with the secret.
const (
	CredentialVariable = "TAPEDECK_LAKE_CREDENTIAL" // client id and secret of OAuth, separated by a colon
	TokenVariable      = "TAPEDECK_LAKE_TOKEN"      // a bearer token
	FileSuffix         = "_FILE"
)

// The commands.
const (
	Ship    = "ship"
	Verify  = "verify"
	Expire  = "expire"
	Restore = "restore"
)

// Request is the one argument of tapedeck-lake, as JSON.
type Request struct {
	Command  string    `json:"command"`
	DataDir  string    `json:"data_dir"`
	Now      time.Time `json:"now"`
	LogLevel string    `json:"log_level,omitempty"`
	Lake     Lake      `json:"lake"`

	DryRun      bool          `json:"dry_run,omitempty"`      // of Ship
	AllowShrink bool          `json:"allow_shrink,omitempty"` // of Ship
	Grace       time.Duration `json:"grace_ns,omitempty"`     // of Expire
	// From and To, both included, bound the dates of Verify and Restore; an empty one leaves that end open.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// Symbols are the names and patterns of Restore; none means all.
	Symbols []string `json:"symbols,omitempty"`
}
