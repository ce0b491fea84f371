# What the service reads, and nothing else. KV version 2 has "data/" in its paths; the keys of the program do not.
path "secret/data/shop/database" {
  capabilities = ["read"]
}
path "secret/data/shop/api" {
  capabilities = ["read"]
}
