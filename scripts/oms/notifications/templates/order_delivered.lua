-- To a customer: the order has arrived.
return {
  subject = "Your order {{order_id}} has arrived",
  body = [[
Hello,

your order {{order_id}} of {{created_at}} has been delivered:

{{lines}}

If anything is missing, please write to us.
]],
  sms = "Your order {{order_id}} has been delivered.",
}
