-- To the staff: a product runs out.
return {
  subject = "Low stock: {{sku}}",
  body = [[
{{name}} ({{sku}}) runs out: {{available}} left, the threshold is {{threshold}}.
]],
  sms = "Low stock: {{sku}}, {{available}} left.",
}
