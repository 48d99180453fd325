import{a as r,c as o}from"./chunk-XEQ23COY.js";var t=e=>(o(e,r("h1",{},"Board")),()=>{});export{t as board};
